//! A whole replica as one pure value.
