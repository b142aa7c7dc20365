//! The client: numbers, signs and retries commands and verifies one signature. Knows nothing of the group.
