//! The contract between engines and those who drive them
