"""Judgements on their way to and from other people: exports, imports, other tools' formats."""
