//! Model and tokenizer files: bytes to typed views and back
