"""What Kokoro says in its benches. Between slashes stand phonemes: of languages whose G2P is an extra."""

from __future__ import annotations

from typing import Final

_ENGLISH = (
    "Okay.",
    "Well,",
    "Paris, France.",
    "How can I help you?",
    "I'm sorry to hear that,",
    "The capital of France is Paris.",
    "What would you like to know about it?",
    "When it rains, you should wear a coat and take an umbrella with you.",
)

FITTED: Final[dict[str, tuple[str, ...]]] = {
    "en-us": _ENGLISH,
    "en-gb": _ENGLISH,
    "es": (
        "Vale.",
        "Bueno,",
        "Claro que sí.",
        "¿En qué puedo ayudarte?",
        "Lo siento mucho,",
        "La capital de Francia es París.",
        "¿Qué te gustaría saber sobre eso?",
        "Cuando llueve, deberías llevar un abrigo y un paraguas.",
    ),
    "fr": (
        "D'accord.",
        "Eh bien,",
        "Bien sûr.",
        "Comment puis-je vous aider ?",
        "Je suis désolé,",
        "La capitale de la France est Paris.",
        "Que voudriez-vous savoir à ce sujet ?",
        "Quand il pleut, il faut mettre un manteau et prendre un parapluie.",
    ),
    "it": (
        "Va bene.",
        "Allora,",
        "Certo, volentieri.",
        "Come posso aiutarti?",
        "Mi dispiace molto,",
        "La capitale della Francia è Parigi.",
        "Che cosa vorresti sapere?",
        "Quando piove, dovresti mettere un cappotto e prendere l'ombrello.",
    ),
    "pt-br": (
        "Tudo bem.",
        "Bom,",
        "Claro que sim.",
        "Como posso ajudar você?",
        "Sinto muito por isso,",
        "A capital da França é Paris.",
        "O que você gostaria de saber?",
        "Quando chove, você deve usar um casaco e levar um guarda-chuva.",
    ),
    "hi": (
        "ठीक है।",
        "अच्छा,",
        "हाँ, ज़रूर।",
        "मैं आपकी क्या मदद कर सकता हूँ?",
        "मुझे खेद है,",
        "फ़्रांस की राजधानी पेरिस है।",
        "आप इसके बारे में क्या जानना चाहेंगे?",
        "जब बारिश हो, तो आपको कोट पहनना चाहिए और छाता ले जाना चाहिए।",
    ),
    "ja": (
        "/hai./",
        "/soː desɨ ne,/",
        "/moʨiɾoɴ desɨ./",
        "/dono joː ɲi o teʦɨdai dekʲimasɨ ka?/",
        "/moːɕiβake aɾʲimaseɴ,/",
        "/ɸɯɾaɴsɨ no ɕɨto βa paɾʲi desɨ./",
        "/soɾe ɲi ʦɨite naɴ o ɕiɾʲi tai desɨ ka?/",
        "/ame ɡa ɸɯɾɯ tokʲiβa, koːto o kʲite kasa o moʔte iʔte kɯdasai./",
    ),
    "zh": (
        "/xau↓ tɤ./",
        "/n↗,/",
        "/ta→ŋɻa↗n kʰɤ↓i↓./",
        "/wo↓nə↗ŋ pa→ŋ ni↓ ʂə↗nmɤ ma↗ŋ?/",
        "/xə↓n pau↘ʨʰjɛ↘n,/",
        "/fa↓kwo↗ tɤ ʂou↓tu→ ʂɨ↘ pa→li↗./",
        "/ni↓ ɕja↓ŋ ljau↓ʨje↓ ʂə↗nmɤ?/",
        "/ɕja↘y↓ tɤ ʂɨ↗xou↘, ni↓ i→ŋkai→ ꭧʰwa→n ʂa↘ŋ wai↘tʰau↘, tai↘ʂa↘ŋ y↓sa↓n./",
    ),
}
"""What the prediction of norm statistics is fitted on, by language."""

UNFITTED: Final[dict[str, tuple[str, ...]]] = {
    "en-us": ("Just a moment.", "Today it is sunny, with a light wind."),
    "en-gb": ("Just a moment.", "Today it is sunny, with a light wind."),
    "es": ("Un momento.", "Hoy hace sol, con un poco de viento."),
    "fr": ("Un instant.", "Aujourd'hui il fait beau, avec un peu de vent."),
    "it": ("Un momento.", "Oggi c'è il sole, con un po' di vento."),
    "pt-br": ("Um momento.", "Hoje faz sol, com um pouco de vento."),
    "hi": ("एक मिनट।", "आज धूप है, और हल्की हवा चल रही है।"),
    "ja": ("/ɕoːɕoː o maʨi kɯdasai./", "/kʲoː no teŋkʲi βa haɾe de, kaʣe ɡa sɨkoɕi aɾʲimasɨ./"),
    "zh": ("/ʨʰi↓ŋʂau→tə↓ŋ./", "/ʨi→ntʰjɛ→n tʰjɛ→nʨʰi↘ʨʰi↗ŋla↓ŋ, jou↓ i↘tjɛ↓n fə→ŋ./"),
}
"""What is compared in every voice."""


def _sentences(text: str) -> tuple[str, ...]:
    return tuple(" ".join(sentence.split()) for sentence in text.split("|"))


SENTENCES: Final = _sentences(
    """
    Yes. | No problem. | Hello there. | That is right. | Good morning! | It depends, | Sure, I can help. |
    Of course. | Thank you. | You're welcome. | Not really, | Let me see, | Great question! | I think so.
    | Sounds good to me. | Here is what I found. | Let me check that for you, | In that case, | First of
    all, | I am not sure about that, | That sounds like a great idea, | Could you say that again, please?
    | It is nice to meet you. | There are three of them, | Yes, that would work, | No, I don't think so. |
    The answer is quite simple. | You should try it again later, | I would be happy to help, | As far as I
    know, | What time would suit you best? | Please hold the line for a second. | My favourite colour is
    green. | It opens at nine in the morning, | On the other hand, | Her brother lives in Boston, | We
    have two rooms left. | Just turn left at the bank. | The train leaves in ten minutes. | Most people
    prefer the window seat, | Let me think about that question for a moment. | Sure, I can help you with
    that today. | I don't know the answer to that question. | You can boil an egg for ten minutes in hot
    water, | The moon is the only natural satellite of the earth. | A good book to read is the old man and
    the sea, | Dogs need a walk at least twice every day. | The museum is closed on Mondays and on public
    holidays. | A leap year has three hundred and sixty six days. | Water freezes at a lower temperature
    when it is salty. | The shortest way is through the park and across the bridge. | She bought fresh
    bread and a bottle of milk. | You will find the keys in the drawer next to the door. | Mix the flour
    with the sugar before you add the eggs. | The new library has a large room for children. | We could
    meet in front of the station at noon, | It takes about four hours to drive there from here. | The
    meeting was moved to Thursday afternoon. | Green tea has less caffeine than coffee does. | My
    neighbour plays the piano every evening. | The doctor told him to drink more water. | There was a long
    queue outside the bakery this morning. | If you like history, you should visit the castle on the hill.
    | The cat was asleep on the kitchen table. | He forgot his umbrella on the bus again. | The price
    includes breakfast and a towel. | They planted a row of apple trees behind the house. | Remember to
    switch off the lights before you leave. | The film was longer than we had expected. | A healthy dinner
    does not have to be expensive. | Birds fly south when the days become shorter. | You can pay by card
    or with your phone. | The river was so high that the road was flooded. | I would suggest the soup and
    the grilled fish. | The package should arrive before the end of the week. | Most plants grow better
    near a bright window. | She has worked as a nurse for twenty years. | The second half of the game was
    much better. | We usually go to the mountains in the summer, | The school is looking for a new music
    teacher. | An old map of the city hung on the wall. | Your appointment is tomorrow at half past two. |
    The engine made a strange noise and then it stopped. | Every guest was given a glass of lemonade. |
    Honey keeps for a very long time if the jar is closed. | The wind was strong enough to break some
    branches. | Somebody left a black suitcase near the entrance. | Fresh snow had fallen during the
    night. | The recipe needs a spoon of butter and some garlic. | Please write your name at the top of
    the page. | Our flight was delayed because of the heavy fog. | The children built a castle out of wet
    sand. | The bridge was painted red about a hundred years ago. | It is warmer today than it was
    yesterday, | The garden looks lovely after the rain. | The last bus to the village leaves at eleven. |
    They sell shoes, bags and winter coats on the first floor. | A short walk after lunch is good for you.
    | The farmer counted his sheep before it got dark. | I hope that this answers your question.
    """
)
"""A hundred that were not fitted, forty of them as short as a reply's first clause."""

TWO_CLAUSES: Final = (
    ("I looked it up for you,", "and the shop is still open."),
    ("As far as I know,", "the bank is open until four."),
    ("You can boil an egg for ten minutes,", "or you can fry it in butter."),
    ("The weather will be fine.", "You will not need a coat."),
    ("I am not sure about that.", "Could you tell me a bit more?"),
    ("The moon is a satellite of the earth.", "It moves around us once a month."),
    ("There is one more thing:", "the door must stay closed."),
    ("We could go by train;", "it is cheaper than the bus."),
    ("Is that what you meant?", "I can explain it again."),
    ("What would you like to know?", "There is a lot to say about it."),
    ("That is a good idea!", "Let me write it down."),
    ("Great question!", "Most birds fly south in the autumn."),
)
"""Spoken clause by clause and in one go: how long the pause between them is. No pause was fitted on them."""


def _clause_pairs(text: str) -> tuple[tuple[str, str], ...]:
    pairs = (line.partition("|") for line in text.strip().splitlines())
    return tuple((first.strip(), second.strip()) for first, _, second in pairs)


PAUSES_FITTED: Final = _clause_pairs(
    """
    I checked the calendar for you, | and Friday is still free.
    If you leave now, | you will be there by eight.
    It is a little expensive, | but the food is very good.
    On Monday morning, | we have a meeting in the big room.
    When the light turns green, | press the button once more.
    Sure, I can do that, | just give me a second.
    The capital of Australia is Canberra, | which lies between Sydney and Melbourne.
    After the first winter, | she moved back to her parents.
    I'm sorry to hear that, | let me see what I can do.
    Yes, | that would be perfect.
    He has two brothers, | three sisters and a dog.
    Well, | I am not quite sure about it.
    Your table is booked. | Please be there at seven.
    Paris is the capital of France. | It has about two million people.
    I have set the alarm. | It will ring at six.
    That is correct. | The answer is forty two.
    The museum opens at ten. | Tickets are sold at the door.
    It rained all night. | The streets are still wet.
    Thank you for waiting. | Your order is on its way.
    The train is late. | There was snow on the tracks.
    I don't think so. | He left an hour ago.
    She called you twice. | Would you like to call her back?
    Okay. | Tell me what happened.
    The recipe needs two eggs and a cup of sugar. | You can leave out the salt.
    Of course! | I will send it right away.
    What a lovely day! | Let us go for a walk.
    Happy birthday! | I hope you have a great party.
    You are welcome! | Is there anything else that you need?
    That sounds like fun! | Which game would you like to play?
    Good morning! | How can I help you today?
    Congratulations on the new job! | When do you start?
    Hello there! | My name is Heart.
    How are you today? | I have good news for you.
    Would you like tea? | There is also some coffee.
    Did you mean the one in London? | It closes at five.
    Why is the sky blue? | Because the air scatters blue light the most.
    Can you hear me? | The line is rather bad.
    Where do you live? | I can look for a shop near you.
    What time is it now? | It must be past noon already.
    Are you sure? | This cannot be undone.
    Here is the address: | twelve Station Road.
    You need three things: | flour, butter and milk.
    The reason is simple: | nobody was at home.
    Remember one rule: | never open that window.
    I have two ideas: | we could walk or take the bus.
    This is the plan: | first we eat and then we leave.
    The house is old; | its roof was mended last year.
    She likes the sea; | he prefers the mountains.
    I would not wait; | the shop closes very soon.
    It was not easy; | still they won the game.
    The first room is taken; | the second one is free.
    Take an umbrella; | it looks like rain.
    There is one problem — | the key is missing.
    My brother — | he is a doctor — will call you.
    I was going to say — | but never mind.
    We have a small garden — | it is full of roses.
    Let me think… | it was in the spring.
    Well… | that depends on the weather.
    I would say… | about four hundred.
    So… | what shall we do now?
    """
)
"""What the pauses of English voices are fitted on, two clauses each."""
