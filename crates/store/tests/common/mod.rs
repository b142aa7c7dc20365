//! A disk that is a map.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use smr_store::{Disk, FileEntry};

#[derive(Clone, Default)]
pub(crate) struct Memory(pub(crate) Rc<RefCell<BTreeMap<String, Vec<u8>>>>);

impl Memory {
    fn file<T>(&self, name: &str, look: impl FnOnce(&mut Vec<u8>) -> T) -> io::Result<T> {
        let mut files = self.0.borrow_mut();
        Ok(look(files.get_mut(name).ok_or(io::ErrorKind::NotFound)?))
    }
}

impl Disk for Memory {
    fn list(&self) -> io::Result<Vec<FileEntry>> {
        let entry =
            |(name, bytes): (&String, &Vec<u8>)| FileEntry { name: name.clone(), bytes: bytes.len() as u64 };
        Ok(self.0.borrow().iter().map(entry).collect())
    }

    fn read(&self, name: &str, offset: u64, bytes_max: usize) -> io::Result<Vec<u8>> {
        self.file(name, |file| {
            let from = usize::try_from(offset).unwrap().min(file.len());
            file[from..(from + bytes_max).min(file.len())].to_vec()
        })
    }

    fn create(&mut self, name: &str, bytes: u64) -> io::Result<()> {
        let before = self.0.borrow_mut().insert(name.to_string(), vec![0; usize::try_from(bytes).unwrap()]);
        assert!(before.is_none(), "{name} was there");
        Ok(())
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file(name, |file| {
            let from = usize::try_from(offset).unwrap();
            file.resize(file.len().max(from + bytes.len()), 0);
            file[from..from + bytes.len()].copy_from_slice(bytes);
        })
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.file(name, |_| ())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.0.borrow_mut();
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_string(), file);
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.0.borrow_mut().remove(name).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        Ok(())
    }
}
