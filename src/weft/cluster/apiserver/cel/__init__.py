"""CEL, the language of validation rules, match conditions and admission policies."""
