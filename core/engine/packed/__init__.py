"""Models with int8 or int4 weights: quantization, packed linear maps, and compiled code that computes with them.

The public way in is `decode.CompiledTransformer`; `linear.matrix` reads packed weights back as float32.
"""
