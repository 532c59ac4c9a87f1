//! Plain versioned data that Carnot promises to read again
