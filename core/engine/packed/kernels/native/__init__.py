"""Products with GGUF's blocks, written as LLVM instructions and compiled for this processor, format by format."""
