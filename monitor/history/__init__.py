"""What was heard, as embeddings on disk: segment files, and the folder that holds them."""
