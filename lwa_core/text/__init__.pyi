from .tokenizers import (
    load_tokenizer as load_tokenizer,
    longest_text as longest_text,
)
