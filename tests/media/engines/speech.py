"""What is said to the engines that listen."""

QUESTION = "What is the capital of France, and how many people live there?"

STORY = (
    "The lighthouse keeper woke before the sun, as he had done for thirty years. He climbed the narrow"
    " stairs, counting every step, and put out the lamp. Below him the fishing boats left the harbor.",
    "His daughter had promised to visit him before the winter storms began. On the table lay her last"
    " letter, which he had read many times. She wrote about her garden, and the price of bread.",
)
"""Some 25 s: more than one window."""
