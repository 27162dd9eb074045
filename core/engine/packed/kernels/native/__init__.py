"""Products with GGUF blocks, written as LLVM instructions and compiled for this processor, one block format at a time."""
