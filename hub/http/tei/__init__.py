"""Routes of Text Embeddings Inference: vectors, ranks, similarity, labels and tokens."""
