"""How people and answering machines answer a telephone, in English: parts, with a pause after each."""

from __future__ import annotations

from typing import Final

PEOPLE: Final[tuple[tuple[str, ...], ...]] = (
    ("Hello?",),
    ("Hello.",),
    ("Hi.",),
    ("Hi, who is this?",),
    ("Yes?",),
    ("Yeah, hello?",),
    ("Hello, hello?",),
    ("Good morning.",),
    ("Anna Miller.",),
    ("This is Tom.",),
    ("Tom Baker speaking.",),
    ("Hello, this is Susan.",),
    ("Hey, what's up?",),
    ("Hello?Is anybody there?",),
    ("Hi, can you hear me?",),
    ("Good afternoon, Baker and Sons.",),
    ("Good morning, Riverside Clinic, how can I help you?",),
    ("Thank you for calling Green Valley Dental, this is Karen, how may I help you?",),
    ("City Hotel, good evening, you are speaking with David, what can I do for you?",),
    ("Smith residence.",),
    ("Customer service, my name is Laura, how can I help?",),
    ("Hello, yes, I was just about to leave, who is calling please?",),
    ("Um, hello?",),
    ("Sales department, one moment please.",),
)
MACHINES: Final[tuple[tuple[str, ...], ...]] = (
    (
        "Hi, you've reached Anna Miller.",
        "I can't come to the phone right now. Please leave a message after the tone.",
    ),
    (
        "Hello, this is Tom.",
        "Sorry I missed your call. Leave your name and number, and I'll get back to you.",
    ),
    (
        "Your call has been forwarded to an automated voice message system.",
        "Five five five, one two three four, is not available. At the tone, please record your message.",
    ),
    (
        "You have reached the voicemail of extension two zero four.",
        "Please leave your message after the beep.",
    ),
    (
        "Hi, it's Susan.",
        "You know what to do.",
    ),
    (
        "The person you are trying to reach is not available.",
        "Please leave a message after the tone.",
    ),
    (
        "Hi, this is David.",
        "I'm either on the other line or away from my desk.",
        "Leave a message, and I'll call you back.",
    ),
    (
        "Thank you for calling Riverside Clinic.",
        "Our office is closed at the moment. Our hours are Monday to Friday, nine to five.",
    ),
    (
        "Welcome to Green Valley Dental.",
        "For appointments, press one.",
        "For billing, press two.",
    ),
    (
        "We're sorry, but nobody is available to take your call.",
        "Please try again later, or leave a message.",
    ),
    (
        "Hey, it's Mike.",
        "Leave one.",
    ),
    (
        "Hello?",
        "Hello?",
        "Ha, I'm not really here. Leave a message!",
    ),
    (
        "The number you have dialled is not in service.",
        "Please check the number and dial again.",
    ),
    (
        "Hi! We can't answer the phone at the moment, but if you leave your name and number, "
        "we'll get back to you as soon as we can.",
    ),
    (
        "This is the mailbox of Laura Jones.",
        "Please speak after the signal.",
    ),
    (
        "The mobile customer you are calling is unavailable.",
        "Please call again later.",
    ),
    (
        "Good morning, you've reached the Baker family.",
        "We are on holiday until the fifth of August.",
    ),
    (
        "Please stay on the line.",
        "All our agents are busy at the moment. Your call is important to us.",
    ),
    (
        "Hi, this is Karen.",
        "I am out of the office this week. For urgent matters, please contact my colleague Peter.",
    ),
    (
        "Record your message at the tone.",
        "When you are finished, hang up, or press one for more options.",
    ),
)
NO_BEEP: Final = frozenset({7, 8, 12, 15, 17})
"""Of the machines, those that take no message. The others beep."""
