"""Each stage of a sampler against transformers and against slow float64 versions written from its definition."""
