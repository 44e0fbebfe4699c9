"""The other tokenizers of Tables 2 and 4, behind the contract of `models/tokenizer.py`."""
