"""Changing what SAE features contribute while the model reads and answers, and measuring what that does and costs.

change.py        amplify, suppress, clamp: from a feature's activation to another one
steering.py      changes at their hook points, in delta mode
generation.py    answers of the changed model
answers.py       how likely a given answer is under it
controls.py      random features of like density and size
dose.py          the curve over strengths, beside the controls'
side_effects.py  perplexity of ordinary text, answers to unrelated prompts
profile.py       changes an institution keeps, bound to model and SAE, with their measured effect
"""
