"""A decoder-only Transformer: Llama, Qwen, OLMo 2 and Gemma by its settings.

Further shape letters, besides those of `it_study.models`:

  J num_kv_heads     G query heads per key-value head     F head_dim / 2
"""
