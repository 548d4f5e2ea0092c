"""What people say to an agent on the telephone: for word error rates over a telephone's line."""

from __future__ import annotations

from typing import Final

VOICES: Final = (
    "af_heart",
    "am_michael",
    "bf_emma",
    "bm_george",
    "af_bella",
    "am_puck",
    "af_nicole",
    "bm_lewis",
)

SENTENCES: Final = (
    "I would like to change my appointment from Tuesday to Friday morning.",
    "My order number is four seven one nine three.",
    "Could you please tell me how much I still have to pay?",
    "The package was damaged when it arrived yesterday.",
    "No, I said the fifteenth of September, not the fifth.",
    "Is there somebody I can talk to about my insurance?",
    "I forgot my password and the link in the mail does not work.",
    "We need a table for six people at half past seven.",
    "What time does the last train to Boston leave tonight?",
    "My name is Frederick Thompson, and I live on Chestnut Street.",
    "The heating has not worked since last Thursday.",
    "Yes, that is correct, thank you very much.",
    "Can I cancel the subscription before the end of the month?",
    "I think you have charged me twice for the same ticket.",
    "Please send the invoice to my office and not to my home.",
    "Which documents do I have to bring for the new passport?",
)
