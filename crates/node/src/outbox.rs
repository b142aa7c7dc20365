//! A bounded queue between whoever decides and the task that writes to one connection. Putting never waits: the
//! core must not depend on how fast a peer or a client reads.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// How much may wait at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutboxLimits {
    /// Frames.
    pub frames_max: usize,
    /// Bytes of all frames together. One frame is taken even if it is larger alone.
    pub bytes_max: usize,
}

/// Frames on their way out, each with its weight in bytes. One task takes, any may put.
#[derive(Debug)]
pub struct Outbox<T> {
    inner: Mutex<Inner<T>>,
    limits: OutboxLimits,
    changed: Notify,
}

#[derive(Debug)]
struct Inner<T> {
    frames: VecDeque<(T, usize)>,
    bytes: usize,
    closed: bool,
}

impl<T> Outbox<T> {
    /// An empty one.
    #[must_use]
    pub fn new(limits: OutboxLimits) -> Outbox<T> {
        let inner = Inner { frames: VecDeque::new(), bytes: 0, closed: false };
        Outbox { inner: Mutex::new(inner), limits, changed: Notify::new() }
    }

    /// Puts a frame, dropping the oldest ones to make room; how many were dropped. For peers: the protocol
    /// tolerates loss, and what is newest is worth most to one who comes back.
    pub fn put_newest(&self, frame: T, bytes: usize) -> usize {
        let mut inner = self.lock();
        if inner.closed {
            return 0;
        }
        let mut dropped = 0;
        while !inner.has_room(bytes, self.limits) {
            let (_, oldest) = inner.frames.pop_front().expect("no room, so there is a frame");
            inner.bytes -= oldest;
            dropped += 1;
        }
        inner.push(frame, bytes);
        drop(inner);
        self.changed.notify_one();
        dropped
    }

    /// Puts a frame if there is room; else closes the box and tells so. For clients: one that does not read is
    /// let go, and a reply must not be missing between others.
    #[must_use]
    pub fn put_or_close(&self, frame: T, bytes: usize) -> Put {
        let mut inner = self.lock();
        if inner.closed {
            return Put::Closed;
        }
        let fits = inner.has_room(bytes, self.limits);
        if fits {
            inner.push(frame, bytes);
        } else {
            inner.frames.clear();
            inner.closed = true;
        }
        drop(inner);
        self.changed.notify_one();
        if fits { Put::Queued } else { Put::Overflowed }
    }

    /// Nothing more is put or taken.
    pub fn close(&self) {
        let mut inner = self.lock();
        inner.frames.clear();
        inner.closed = true;
        drop(inner);
        self.changed.notify_one();
    }

    /// Waits for frames and takes the oldest ones, as many as make up about `bytes_max`; none once it is closed.
    /// Loses nothing when it is dropped while it waits.
    pub async fn take(&self, bytes_max: usize) -> Option<Vec<T>> {
        loop {
            let changed = self.changed.notified();
            {
                let mut inner = self.lock();
                if inner.closed {
                    return None;
                }
                let mut taken = Vec::new();
                let mut bytes = 0;
                while bytes < bytes_max
                    && let Some((frame, size)) = inner.frames.pop_front()
                {
                    inner.bytes -= size;
                    bytes += size;
                    taken.push(frame);
                }
                if !taken.is_empty() {
                    return Some(taken);
                }
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Inner<T> {
    fn has_room(&self, bytes: usize, limits: OutboxLimits) -> bool {
        self.frames.is_empty()
            || (self.frames.len() < limits.frames_max && self.bytes + bytes <= limits.bytes_max)
    }

    fn push(&mut self, frame: T, bytes: usize) {
        self.frames.push_back((frame, bytes));
        self.bytes += bytes;
    }
}

/// What became of a frame for a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Put {
    /// It waits.
    Queued,
    /// There was no room; the box is closed now.
    Overflowed,
    /// The box was closed before.
    Closed,
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: OutboxLimits = OutboxLimits { frames_max: 3, bytes_max: 10 };

    #[tokio::test]
    async fn the_oldest_frames_make_room_for_the_newest() {
        let outbox = Outbox::new(LIMITS);
        assert_eq!([1, 2, 3].map(|n| outbox.put_newest(n, 2)), [0, 0, 0]);
        assert_eq!(outbox.put_newest(4, 2), 1);
        assert_eq!(outbox.put_newest(5, 8), 2);
        assert_eq!(outbox.take(100).await, Some(vec![4, 5]));
        assert_eq!((outbox.put_newest(6, 99), outbox.put_newest(7, 1)), (0, 1));
        assert_eq!(outbox.take(100).await, Some(vec![7]));
    }

    #[tokio::test]
    async fn a_reader_that_lags_is_let_go() {
        let outbox = Outbox::new(LIMITS);
        assert_eq!(outbox.put_or_close(1, 9), Put::Queued);
        assert_eq!(outbox.put_or_close(2, 9), Put::Overflowed);
        assert_eq!(outbox.put_or_close(3, 1), Put::Closed);
        assert_eq!(outbox.take(100).await, None);
    }

    #[tokio::test]
    async fn frames_are_taken_in_portions_in_order_and_a_waiting_taker_wakes() {
        let outbox = std::sync::Arc::new(Outbox::new(LIMITS));
        let taker = tokio::spawn({
            let outbox = outbox.clone();
            async move { outbox.take(3).await }
        });
        tokio::task::yield_now().await;
        outbox.put_newest(1, 2);
        let first = taker.await.unwrap();
        assert_eq!(first, Some(vec![1]));
        (2..5).for_each(|n| assert_eq!(outbox.put_newest(n, 2), 0));
        assert_eq!(outbox.take(3).await, Some(vec![2, 3]));
        assert_eq!(outbox.take(3).await, Some(vec![4]));
        outbox.close();
        assert_eq!(outbox.take(3).await, None);
    }
}
