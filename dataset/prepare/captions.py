"""Our own grammar of English captions for labelled clips (spec/data.md 4: Bandai-Namco has labels, not sentences).

A caption is a subject, a verb phrase of the content, marks of the style and a place, put together in one of many
sentence forms. The tables are the language and the functions below only join it. Three kinds of markup in the tables:

    {walk}     a verb, put into the form that the sentence asks for
    (a|b|)     one of these
    <high>     an entry of FRAGMENTS, or a word that depends on the sentence: <his> the possessive that goes with the
               subject; <side> left or right, <hand>, <it> and <clock> (clockwise or not) by the content

Lists run from common to rare and are picked from in that spirit, so plain wordings come first and often. What the
motions really do was looked up in the clips: bye waves one hand (the right), byebye both; guide holds the right arm out
ahead; respond raises the left hand and keeps it up; call leans forward and shouts, hands at the mouth; the kicks are
right and spinning; slashes are two-handed; walk-left and walk-right go obliquely without turning, walk-turn-* turns by
90 degrees. A mirrored clip's caption is `mirror_caption` of the clip's own, since those hands change too.
"""

import random
import re

# --- What the body does ----------------------------------------------------------------------------------------------

FRAGMENTS = {
    "one hand": [
        "<his> <side> hand", "<his> <side> arm", "the <side> hand", "the <side> arm", "<his> <side> hand",
        "<side> hand", "<side> arm", "the hand on the <side>", "the arm on <his> <side>", "<his> <side> forearm",
    ],
    "both hands": [
        "both hands", "both arms", "<his> hands", "<his> arms", "both of <his> hands", "both of <his> arms",
        "two hands", "the arms", "both the hands", "<his> two arms", "<his> hands together",
    ],
    "someone": ["someone", "somebody", "a friend", "another person", "people", "everyone"],
    "few": ["a few", "some", "several", "two", "three", "a couple of"],
    "high": [
        "up", "up", "into the air", "in the air", "above <his> head", "over <his> head", "high", "up high", "overhead",
        "upward", "upwards", "to the sky", "towards the ceiling",
    ],
    "aside": ["from side to side", "back and forth", "to and fro", "in the air", "above <his> head", "around"],
    "sword": ["a sword", "a blade", "a katana", "an invisible sword", "a long sword", "<his> sword"],
}  # fmt: skip

_RAISE = [
    "{raise} <hand>", "{raise} up <hand>", "{lift} <hand>", "{lift} up <hand>", "{raise} <hand> <high>",
    "{lift} <hand> <high>", "{put} <hand> (up|in the air|into the air)", "{put} up <hand>",
    "{hold} <hand> (up|high|up high|in the air)", "{hold} up <hand>",
    "{raise} <hand> (and|then|and then) {lower} <it> (again|)", "{stretch} <hand> <high>",
    "{lift} <hand> (up|) and {bring} <it> (down|back down)", "{extend} <hand> (upward|upwards|up|above <his> head)",
    "{bring} <hand> (up|up high|above <his> head)", "{reach} (up|high|upwards) with <hand>",
    "{move} <hand> (up|upward|upwards)", "{throw} <hand> (up|into the air)", "{stick} <hand> up", "{stick} up <hand>",
    "{swing} <hand> (up|upwards|above <his> head)", "{elevate} <hand>", "{thrust} <hand> into the air",
    "{stand} (still|) with <hand> (raised|up|lifted)", "{keep} <hand> raised for a moment",
    "{point} <hand> (up|upwards|at the sky)", "{raise} and {lower} <hand>",
]  # fmt: skip

_WAVE = [
    "{wave} <hand>", "{wave} with <hand>", "{wave} <hand> <aside>", "{wave} <hand> (at|to) <someone>",
    "{wave} using <hand>", "{raise} <hand> and {wave}", "{raise} <hand> to wave", "{lift} <hand> (up|) and {wave}",
    "{shake} <hand> <aside>", "{swing} <hand> <aside>", "{move} <hand> (from side to side|back and forth|to and fro)",
    "{wave} hello with <hand>", "{hold} <hand> (up|high) and {wave} (<it>|)", "{greet} <someone> by waving <hand>",
    "{wave} (at|to) <someone> with <hand>", "{put} <hand> up and {wave} (<it>|)", "{say} (hello|hi) by waving <hand>",
    "{signal} by waving <hand>", "{sway} <hand> (from side to side|in the air)", "{give} a wave with <hand>",
    "{do} a wave with <hand>", "{wave} <hand> (hello|in greeting|as a greeting)",
    "{flap} <hand> <aside>", "{wag} <hand>", "{wiggle} <hand> in the air", "{try} to get attention by waving <hand>",
    "{raise} <hand> and {swing} <it> <aside>", "{wave} <hand> (for attention|in excitement|at the crowd|to a crowd)",
    "{hold} <hand> up and {move} <it> <aside>",
]  # fmt: skip

# Wordings that name no hand: people type them, and one hand is what they mean. They stand with the right hand.
_RAISE_ANY = [
    "{raise} (a hand|one hand|an arm|one arm)",
    "{lift} (a hand|one hand|an arm|one arm) <high>",
    "{put} up (a|one) hand",
]
_WAVE_ANY = [
    "{wave}", "{wave} (at|to) <someone>", "{wave} hello", "{wave} (a|one) hand", "{give} <someone> a wave",
    "{wave} hi", "{greet} <someone> with a wave",
]  # fmt: skip

_SIDESTEP = [
    "{walk} to the <side>", "{walk} <side>", "{walk} sideways to the <side>", "{sidestep} (to the|) <side>",
    "{step} to the <side>", "{walk} (toward|towards) the <side>", "{move} (to the|) <side>",
    "{take} <few> steps to the <side>", "{side-step} (to the|) <side>", "{walk} to <his> <side>",
    "{walk} diagonally (forward|) to the <side>", "{step} sideways to the <side>",
    "{take} <few> (side steps|sideways steps|sidesteps) to the <side>", "{strafe} (to the|) <side>",
    "{go} to the <side>", "{shuffle} (sideways|) to the <side>",
    "{walk} to the <side> (side|while facing forward|without turning)", "{walk} <side>ward",
    "{drift} (off|) to the <side> while walking", "{walk} <side>wards", "{sidle} to the <side>",
    "{slide} to the <side>", "{walk} at an angle to the <side>", "{step} (<side>|toward the <side>)",
    "{stroll} to the <side>", "{walk} over to the <side>", "{cross} over to the <side>", "{edge} to the <side>",
    "side {step} to the <side>", "{go} sideways to the <side>",
    "{walk} sideways to the <side> (while facing forward|without turning|facing ahead)",
    "{step} to the <side> (without turning <his> body|with <his> body facing forward|facing the front)",
    "{keep} facing (forward|ahead|the front) and {step} (sideways|) to the <side>",
    "{move} sideways (toward|towards) <his> <side> (side|)", "{face} forward and {sidestep} (to the|) <side>",
    "{take} (sideways|lateral) steps (toward|to) the <side>", "{sidestep} <few> times to the <side>",
    "{move} laterally (to the|) <side>", "{look} ahead and {walk} sideways to the <side>",
    "{step} <side> again and again (with|keeping) <his> chest to the front",
]  # fmt: skip

_TURN = [
    "{walk} and {turn} <side>", "{walk} then {turn} <side>",
    "{walk} (forward|ahead|) (and|then|and then) {turn} to the <side>", "{turn} <side> while walking",
    "{turn} to the <side>", "{make} a <side> turn", "{turn} <side>", "{take} a <side> turn",
    "{walk} and {make} a <side> turn", "{walk} forward (and|then|and then) {turn} <side>",
    "{turn} to the <side> while walking", "{walk} (around|round) a corner to the <side>",
    "{turn} a corner to the <side>", "{walk} in a curve to the <side>", "{turn} <side> and {keep} walking",
    "{turn} to <his> <side> while walking", "{walk} forward before turning (to the|) <side>",
    "{walk} straight and then {turn} <side>", "{curve} to the <side>", "{walk} and {turn} (<clock>|) to the <side>",
    "{change} direction to the <side> while walking", "{take} a <side> at the corner",
    "{walk} on and {take} a <side> turn", "{turn} <side> at the corner", "{make} a turn to the <side>",
    "{make} a ninety degree turn to the <side>", "{pivot} <side> while walking", "{stroll} and {turn} <side>",
    "{turn} 90 degrees to the <side>", "{take} <few> steps and {turn} <side>", "{rotate} to the <side> while walking",
    "{walk} along a path that turns <side>", "{turn} around to the <side> while walking",
    "{veer} <side> around a corner",
]  # fmt: skip

CONTENTS = {
    "walk": [
        "{walk}", "{walk} forward", "{walk}", "{walk}", "{walk} forward", "{walk}",
        "{walk} (forwards|ahead|straight ahead|straight|straight forward)", "{stroll}",
        "{step} forward", "{take} <few> steps forward", "{walk} <few> steps", "{take} <few> steps", "{take} a walk",
        "{go} for a walk", "{stride} (forward|ahead|)", "{stroll} (forward|along|around|ahead)",
        "{move} forward (on foot|at a walk)", "{walk} (along|around|about|on|away|past)", "{take} a stroll",
        "{go} for a stroll", "{march} (forward|ahead|)", "{saunter} (along|forward|)", "{amble} (along|forward|)",
        "{wander} (around|about|along|)", "{pace} (forward|around)", "{go} forward (on foot|at a walk|step by step)",
        "{walk} in a straight line", "{walk} from one (side|place|spot) to (another|the other)",
        "{advance} (on foot|step by step|at a walk)", "{go} walking", "{head} forward on foot",
        "{proceed} forward on foot", "{tread} (along|forward)", "{put} one foot in front of the other",
    ],
    "run": [
        "{run}", "{jog}", "{run} forward", "{run} (forwards|ahead|straight ahead|straight|along|around)",
        "{jog} (forward|along|ahead|forwards)", "{go} for a (run|jog)", "{go} (running|jogging)",
        "{run} in a straight line", "{trot} (forward|along|)", "{take} a jog", "{jog} in a straight line",
        "{move} forward at (a run|a jog|a running pace|a jogging pace)", "{run} at a steady pace",
        "{jog} at (an easy|a steady) pace", "{do} some (running|jogging)", "{break} into a (run|jog)",
        "{lope} (forward|along)", "{run} <few> steps", "{run} from one (side|place|spot) to (another|the other)",
        "{run} away", "{run} past",
    ],
    "dash": [
        "{sprint}", "{dash}", "{sprint} (forward|ahead|straight ahead|off)",
        "{dash} (forward|ahead|off|straight ahead)",
        "{run} (at full speed|at top speed|very fast|really fast|flat out|as fast as possible)",
        "{race} (forward|ahead|off|)", "{rush} (forward|ahead|off|)", "{bolt} (forward|ahead|off|)",
        "{sprint} at full speed", "{charge} (forward|ahead)", "{make} a (dash|sprint) forward",
        "{break} into a sprint", "{go} all out in a sprint", "{speed} (ahead|off|forward)",
        "{dart} (forward|off|ahead)", "{hurtle} forward", "{zoom} (forward|off|ahead)",
        "{hurry} forward at full speed", "{do} a (sprint|dash)", "{take} off (in a sprint|at full speed|sprinting)",
        "{run} (forward|ahead) at full speed",
        "{run} at (maximum|high|great) speed", "{sprint} (away|past|hard|quickly|to the finish line|for the bus)",
        "{run} (extremely|incredibly|super) fast", "{run} a (sprint|race|hundred meter dash)", "{run} for <his> life",
        "{dash} (away|across|to the finish)", "{explode} into a sprint", "{run} in an all out sprint",
        "{rocket} forward", "{run} as (hard|quickly) as possible",
    ],
    "walk-back": [
        "{walk} backward", "{walk} backwards", "{back} up", "{step} (back|backward|backwards)", "{walk} in reverse",
        "{take} <few> steps (back|backward|backwards)", "{move} (backward|backwards|back)", "{back} away",
        "{walk} back", "{retreat}", "{go} (backward|backwards|in reverse)",
        "{walk} (backward|backwards) (while facing forward|without turning around)",
        "{back} away (from <someone>|step by step)", "{stroll} (backward|backwards)", "{pace} (backward|backwards)",
        "{retreat} (step by step|on foot|<few> steps)", "{walk} <few> steps (back|backward|backwards)",
        "{reverse} on foot", "{stride} (backward|backwards)", "{withdraw} (<few> steps|on foot|backwards)",
        "{shuffle} (backward|backwards)", "{walk} rearward",
        "{move} in reverse (one step at a time|)", "{step} back one foot after the other",
        "{keep} facing forward and {walk} (backward|backwards)", "{move} away (backward|backwards)",
    ],
    "walk-left": _SIDESTEP,
    "walk-right": _SIDESTEP,
    "walk-turn-left": _TURN,
    "walk-turn-right": _TURN,
    "bow": [
        "{bow}", "{take} a bow", "{bow} down", "{make} a (polite|deep|respectful|small|formal|) bow",
        "{give} a (polite|deep|small|respectful|) bow", "{bow} (politely|respectfully|deeply|formally)",
        "{bow} (to|before|in front of) (<someone>|the audience|a guest)", "{bow} <his> head",
        "{bend} forward (in|to make|to take|for) a bow", "{do} a bow", "{perform} a (polite|deep|) bow",
        "{bow} (in greeting|in respect|out of respect|in thanks|as a greeting|to say thank you)",
        "{greet} <someone> with a bow", "{bend} (at|from) the waist", "{bend} (at|from) the waist to bow",
        "{lean} forward (in|into|for) a bow", "{lower} <his> head in a bow", "{bow} from the waist",
        "{bend} (forward|over) and {bow}", "{show} respect (with|by making) a bow", "{thank} <someone> with a bow",
        "{bow} and {straighten} up again", "{apologize} with a bow", "{offer} a (polite|deep|) bow",
        "{bend} <his> upper body forward politely",
        "{bow} (once|low|slightly|a little|twice)", "{bow} with <his> hands at <his> sides", "{pay} respect with a bow",
        "{bend} <his> (upper body|back|body) (forward|down) (in respect|to greet <someone>|in an apology)",
        "{take} a (low|long|deep) bow (after a show|)", "{tip} forward in a (polite|small) bow",
        "{greet} politely with a bow", "{bend} down and {come} back up in a bow",
    ],
    "bye": [
        "{wave} goodbye", "{say} goodbye", "{wave} bye", "{say} bye", "{bid} farewell",
        "{wave} goodbye (to|at) <someone>", "{say} (goodbye|bye|farewell) to <someone>", "{wave} farewell",
        "{say} farewell", "{wave} (a|one|<his> right) hand to say goodbye",
        "{raise} (a|one|<his> right) hand to say goodbye", "{bid} <someone> (goodbye|farewell)",
        "{wave} goodbye with (<his> right|one|a) hand", "{gesture} goodbye", "{give} a (goodbye|farewell) wave",
        "{make} a (goodbye|farewell) gesture", "{signal} goodbye", "{part} from <someone> with a wave",
        "{see} <someone> off with a wave", "{wave} a hand in farewell", "{wave} off a friend who is leaving",
        "{say} goodbye with a wave", "{take} leave with a wave", "{send} <someone> off with a wave",
        "{wave} <someone> goodbye", "{sign} goodbye with one hand", "{lift} a hand in goodbye",
        "{say} see you (later|soon|again|tomorrow)", "{wave} and {say} see you (later|soon|again|tomorrow)",
        "{give} a (quick|short|little|friendly) goodbye wave", "{gesture} (farewell|see you later) with a hand",
        "{wave} (farewell|goodbye) as (a friend|a guest|a visitor) leaves", "{raise} (a hand|one hand) in farewell",
        "{wave} one hand in parting", "{wave} (goodbye|bye) before leaving", "{bid} goodbye with (a hand|one hand)",
    ],
    "byebye": [
        "{wave} bye bye", "{say} bye bye", "{wave} byebye", "{say} byebye", "{wave} bye-bye",
        "{wave} bye bye with both (hands|arms)", "{wave} bye bye (to|at) <someone>",
        "{say} (bye bye|bye-bye) to <someone>", "{wave} (<his>|both) (hands|arms) (and {say}|to say) bye bye",
        "{gesture} (bye bye|bye-bye)", "{say} bye-bye", "{give} a big bye bye wave",
        "{make} a bye bye (gesture|wave|sign)", "{do} a bye bye (wave|gesture)",
        "{swing} both (arms|hands) (and {say}|to say) bye bye", "{wave} (a big|one more) bye bye",
        "{raise} both hands and {wave} bye bye", "{raise} both hands to wave bye bye",
        "{shake} both hands to say bye bye", "{wave} bye bye again and again", "{signal} (bye bye|byebye)",
        "{wave} <someone> bye bye", "{wave} goodbye with both (hands|arms)", "{go} bye bye with both hands",
        "{bid} <someone> bye bye with both arms",
        "{wave} both (hands|arms) (goodbye|in farewell|to say goodbye)", "{say} goodbye by waving both (hands|arms)",
        "{swing} both (hands|arms) in farewell", "{wave} farewell (with|using) both (hands|arms)",
    ],
    "guide": [
        "{guide} <someone>", "{show} the way", "{show} <someone> the way", "{gesture} to show the way",
        "{point} the way", "{guide} <someone> with (a hand|one hand|<his> right hand|an arm)",
        "{invite} <someone> (inside|to come inside|to go ahead|to enter)", "{give} directions",
        "{usher} <someone> (inside|along|through)",
        "{direct} <someone> (with a hand|with <his> arm|this way|that way)",
        "{gesture} (this way|that way|ahead|towards the way)",
        "{hold} out (an arm|a hand|<his> right arm|<his> right hand) to show the way", "{show} <someone> where to go",
        "{motion} <someone> (this way|forward|to go ahead|to come this way)", "{indicate} the (way|direction)",
        "{make} a guiding gesture", "{welcome} <someone> inside",
        "{extend} (an arm|a hand|<his> right arm|<his> right hand) to guide <someone>",
        "{gesture} for <someone> to (enter|go ahead|come inside|come this way)",
        "{point} out the (way|direction) (with an open hand|)", "{lead} the way with a gesture",
        "{stretch} out (an arm|<his> right arm) to point the way", "{present} the way with (a hand|an open hand)",
        "{direct} <someone> where to go", "{tell} <someone> which way to go", "{ask} <someone> to come this way",
        "{give} <someone> directions",
        "{show} (a guest|a visitor|guests) (the way|where to go|inside)", "{gesture} please go ahead",
        "{guide} (a guest|a visitor|people) (along|inside|this way)", "{help} <someone> find the way with a gesture",
        "{point} (an arm|<his> right arm|<his> right hand) in the direction to go", "{gesture} toward the entrance",
        "{direct} (guests|visitors|traffic) with (one arm|<his> right arm|a hand)",
        "{sweep} an arm aside to let <someone> pass", "{offer} the way with an open hand",
    ],
    "respond": [
        "{respond}", "{answer}", "{reply}", "{respond} to <someone>",
        "{raise} (a hand|one hand|<his> left hand) to (answer|respond|reply)",
        "{raise} (a hand|one hand|<his> left hand) in (answer|response|reply)",
        "{answer} (a call|<someone>|a question)", "{reply} to <someone>",
        "{respond} (with|by raising) (a hand|<his> left hand|one hand)", "{react} to <someone>",
        "{give} (a response|an answer|a reply)", "{answer} <someone> with a raised hand",
        "{acknowledge} <someone> (with a raised hand|)", "{put} up a hand to (answer|reply|respond)",
        "{respond} to (a call|a question|being called)", "{reply} with a gesture",
        "{answer} by raising (a hand|<his> left hand|one hand)", "{react} to being called",
        "{lift} a hand (as|in) a response", "{make} a responding gesture", "{signal} an answer with one hand",
    ],
    "call": [
        "{call} out", "{call} <someone>", "{call} out to <someone>", "{shout}", "{yell}", "{shout} (to|at) <someone>",
        "{call} <someone> over", "{shout} loudly", "{yell} (to|at) <someone>", "{call} for <someone>",
        "{cup} <his> hands around <his> mouth and {shout}",
        "{shout} (out|aloud) with (both|<his>) hands around <his> mouth", "{lean} forward and {shout}",
        "{call} to <someone> (far away|in the distance)", "{holler}", "{cry} out",
        "{call} out (loudly|a name|for help)", "{scream} (loudly|out|at <someone>)",
        "{call} <someone> in a loud voice", "{shout} at the top of <his> voice", "{shout} for <someone> to come",
        "{beckon} <someone> over with a shout", "{put} both hands to <his> mouth and {call} out",
        "{bend} forward and {yell}", "{holler} (at|to) <someone>",
    ],
    "kick": [
        "{kick}", "{kick} with <his> right (leg|foot)", "{throw} a kick",
        "{do} a (kick|high kick|karate kick|spinning kick|roundhouse kick)",
        "{kick} (the air|into the air|out|forward|high|hard|something|an opponent)",
        "{perform} (a kick|kicks|a spinning kick|some karate kicks)", "{give} a kick",
        "{kick} (several|a few|three) times", "{swing} <his> right leg (to kick|in a kick)",
        "{deliver} a (kick|high kick|hard kick)", "{throw} (a few|some|several|high) kicks",
        "{spin} (around|) and {kick}", "{turn} (around|) and {kick}", "{practice} (kicks|kicking|karate kicks)",
        "{launch} a (kick|spinning kick)", "{attack} with (a kick|kicks|<his> feet)",
        "{strike} with <his> right (foot|leg)", "{raise} <his> right leg and {kick}", "{fight} with kicks",
        "{kick} like a (karate|martial arts) fighter", "{make} a kick", "{do} martial arts kicks",
        "{kick} a target with <his> foot",
    ],
    "punch": [
        "{punch}", "{throw} a punch", "{throw} punches",
        "{punch} (the air|forward|an opponent|something|<someone>|hard)", "{box}",
        "{punch} with <his> (fist|fists|hands)", "{do} a (punch|jab|boxing punch)", "{jab}",
        "{throw} (a few|some|several|two|quick) punches", "shadow {box}",
        "{hit} (something|an opponent|the air) with <his> (fist|fists)", "{strike} with <his> (fist|fists)",
        "{deliver} a punch", "{box} with an opponent", "{throw} a jab", "{swing} <his> (fist|fists)",
        "{practice} (punches|punching|boxing)", "{thrust} <his> fist forward", "{jab} (forward|with <his> fist)",
        "{attack} with (a punch|punches|<his> fists)", "{fight} with <his> fists", "{give} a punch",
        "{perform} (a punch|punches|some boxing)", "{punch} (several|a few|two) times", "{land} a punch",
        "{stand} in a boxing stance and {punch}",
    ],
    "slash": [
        "{slash}", "{swing} <sword>", "{slash} with <sword>",
        "{swing} <sword> (down|downward|with both hands|through the air)", "{cut} with <sword>",
        "{slash} (down|downward|forward|the air|through the air|at an opponent|diagonally)", "{strike} with <sword>",
        "{attack} with <sword>", "{cut} (the air|something|through the air|down) with <sword>", "{wield} <sword>",
        "{slice} (the air|through the air|) with <sword>", "{make} a (slashing|cutting|slicing) motion",
        "{fight} with <sword>", "{do} a (slash|sword slash|sword swing)",
        "{perform} (a slash|sword slashes|a sword attack)",
        "{practice} (swordplay|kendo|sword swings|slashing|sword fighting)", "{slice} (downward|something in half)",
        "{bring} down <sword>", "{chop} with <sword>", "{hack} (at an opponent|away) with <sword>", "{slash} an enemy",
        "{hold} <sword> and {slash}",
    ],
    "dance-short": [
        "{dance}", "{do} a (short|little|quick|) dance",
        "{dance} (around|to the music|to a song|freely|on the floor|along)", "{perform} a (short|) dance",
        "{dance} (a little|for a bit|for a short time)", "{do} (some|a few) dance moves",
        "{move} to the (music|rhythm|beat)", "{dance} to the (beat|rhythm)",
        "{perform} (a dance routine|some dance moves)", "{groove} (to the music|to the beat|)",
        "{show} off some dance moves", "{boogie}", "{practice} (dancing|dance steps|a dance)", "{bust} a move",
        "{break} into a (short|) dance", "{spin} (around|) and {dance}", "{go} dancing",
        "{step} to the (beat|rhythm) of the music", "{dance} and {turn} around", "{have} a (short|little) dance",
        "{jive}", "{sway} to the music",
    ],
    "raise-up-both-hands": _RAISE,
    "raise-up-left-hand": _RAISE,
    "raise-up-right-hand": _RAISE + _RAISE_ANY,
    "wave-both-hands": _WAVE,
    "wave-left-hand": _WAVE,
    "wave-right-hand": _WAVE + _WAVE_ANY,
}  # fmt: skip

# The same as a noun, for captions without a verb: "a tired walk". A right content takes the words of its left one.
NAMES = {
    "walk": ["walk", "stroll", "walk forward", "walking motion"],
    "run": ["run", "jog", "running motion", "jog forward"],
    "dash": ["sprint", "dash", "sprint forward", "fast dash"],
    "walk-back": ["backward walk", "walk backward", "walk backwards", "step back", "walk in reverse"],
    "walk-left": ["side step to the <side>", "walk to the <side>", "step to the <side>", "sidestep to the <side>"],
    "walk-turn-left": ["<side> turn", "turn to the <side>", "walk with a <side> turn", "<side> turn at a corner"],
    "bow": ["bow", "bow of the head", "bow from the waist", "bow of greeting"],
    "bye": ["goodbye wave", "farewell wave", "goodbye gesture", "farewell"],
    "byebye": ["bye bye wave", "bye bye gesture", "bye bye with both hands", "bye-bye"],
    "guide": ["guiding gesture", "gesture that shows the way", "gesture to come this way", "guide gesture"],
    "respond": ["response", "reply", "answer with a raised hand", "responding gesture"],
    "call": ["call", "shout", "loud shout", "yell", "call to someone"],
    "kick": ["kick", "karate kick", "spinning kick", "kick with the right foot", "roundhouse kick"],
    "punch": ["punch", "jab", "boxing punch", "punch with the fist"],
    "slash": ["slash", "sword slash", "slash with a sword", "sword swing", "sword strike"],
    "dance-short": ["dance", "short dance", "dance to the music", "little dance", "dance move"],
    "raise-up-both-hands": ["raise of both hands", "lift of both arms", "hands up gesture"],
    "raise-up-left-hand": ["raised <side> hand", "raise of the <side> hand", "lift of the <side> arm"],
    "wave-both-hands": ["wave of both hands", "wave with both hands", "two handed wave", "wave with both arms"],
    "wave-left-hand": ["wave with the <side> hand", "wave of the <side> hand", "<side> hand wave"],
}  # fmt: skip

# Verbs of which some form is not by rule; the others double their last letter in -ing and -ed.
PAST = {
    "be": "was", "begin": "began", "bend": "bent", "bid": "bade", "break": "broke", "bring": "brought",
    "catch": "caught", "come": "came", "creep": "crept", "cut": "cut", "do": "did", "drink": "drank", "eat": "ate",
    "fall": "fell", "feel": "felt", "fight": "fought", "get": "got", "give": "gave", "go": "went", "have": "had",
    "hear": "heard", "hit": "hit", "hold": "held", "keep": "kept", "kneel": "knelt", "lead": "led", "make": "made",
    "pay": "paid", "put": "put", "run": "ran", "say": "said", "see": "saw", "send": "sent", "shake": "shook",
    "show": "showed", "side-step": "side-stepped", "sidestep": "sidestepped", "sing": "sang", "sit": "sat",
    "slide": "slid", "speed": "sped", "spin": "spun", "stand": "stood", "stick": "stuck", "stride": "strode",
    "strike": "struck", "sweep": "swept", "swing": "swung", "take": "took", "tell": "told", "throw": "threw",
    "thrust": "thrust", "tread": "trod", "withdraw": "withdrew",
}  # fmt: skip
DOUBLED = {
    "begin", "bid", "chop", "clap", "cup", "cut", "drag", "flap", "get", "hit", "hop", "hug", "jab", "jog", "nod",
    "plod", "put", "run", "side-step", "sidestep", "sit", "skip", "spin", "squat", "step", "stop", "strut", "tip",
    "trot", "wag",
}  # fmt: skip

# --- Who does it -----------------------------------------------------------------------------------------------------

# Nouns take a determiner, pronouns stand alone. The possessives that may go with each group, common first.
SUBJECTS = {
    "neutral": [
        "person", "person", "human", "character", "figure", "individual", "subject", "player", "human being",
        "performer", "actor", "pedestrian",
    ],
    "man": ["man", "man", "guy", "gentleman", "fellow", "dude", "male"],
    "woman": ["woman", "woman", "lady", "female"],
    "boy": ["boy"],
    "girl": ["girl"],
}  # fmt: skip
PRONOUNS = {
    "neutral": ["someone", "somebody", "someone"],
    "man": ["he"],
    "woman": ["she"],
    "boy": ["he"],
    "girl": ["she"],
}
POSSESSIVES = {"neutral": ["their", "his", "her"], "man": ["his"], "woman": ["her"], "boy": ["his"], "girl": ["her"]}

# --- How it is done --------------------------------------------------------------------------------------------------

# Per style: adjectives of the subject; adverbs (one word: before the verb, after it, or last); tails; gait, tails
# that speak of steps or pace (travelling contents only); walk, verbs that say "walk" in this style; subjects with their
# group; who, the groups that do not contradict the style (all of them by default).
STYLES = {
    "normal": dict(
        adjectives=["normal", "ordinary", "regular", "calm", "relaxed"],
        adverbs=["normally", "casually", "calmly", "naturally", "regularly", "plainly"],
        tails=["in a normal way", "as usual", "in an ordinary way", "in a relaxed way", "in a natural manner"],
        gait=["at a normal pace", "at an average pace", "at a regular speed", "with normal steps"],
    ),
    "happy": dict(
        adjectives=["happy", "cheerful", "joyful", "glad", "smiling", "delighted", "merry"],
        adverbs=["happily", "cheerfully", "joyfully", "merrily", "gladly", "joyously"],
        tails=["in a good mood", "with joy", "while feeling happy", "in a happy way", "looking happy", "full of joy",
               "with a smile", "in high spirits"],
        gait=["with a spring in <his> step", "with light steps", "with bouncy steps"],
        walk=["skip", "bounce"],
    ),
    "sad": dict(
        adjectives=["sad", "unhappy", "depressed", "gloomy", "upset", "sorrowful", "heartbroken"],
        adverbs=["sadly", "slowly", "slowly", "gloomily", "unhappily", "sorrowfully", "miserably", "dejectedly"],
        tails=["in a sad mood", "while feeling sad", "in a sad way", "looking down", "looking sad",
               "with a hanging head",
               "as if about to cry", "with sadness", "feeling down"],
        gait=["with slow heavy steps", "at a slow pace", "with dragging feet"],
        walk=["trudge", "shuffle", "plod"],
    ),
    "angry": dict(
        adjectives=["angry", "mad", "furious", "annoyed", "irritated", "enraged"],
        adverbs=["angrily", "furiously", "madly", "aggressively", "irritably", "crossly"],
        tails=["in anger", "while feeling angry", "in an angry way", "looking angry", "in a bad mood", "full of anger",
               "in a rage", "with rage", "out of anger"],
        gait=["with angry steps", "with stamping feet"],
        walk=["stomp", "storm"],
    ),
    "proud": dict(
        adjectives=["proud", "confident", "self-assured", "dignified", "haughty", "pompous"],
        adverbs=["proudly", "confidently", "boldly", "pompously", "haughtily"],
        tails=["with pride", "with confidence", "full of pride", "in a proud way", "with the chest out", "like a king",
               "with <his> head held high", "looking proud"],
        gait=["with proud steps", "with a confident step"],
        walk=["strut", "parade", "march"],
    ),
    "not-confident": dict(
        adjectives=["shy", "timid", "nervous", "unsure", "insecure", "anxious", "hesitant", "unconfident"],
        adverbs=["nervously", "timidly", "shyly", "slowly", "hesitantly", "cautiously", "meekly", "awkwardly"],
        tails=["without confidence", "with no confidence", "in an unsure way", "lacking confidence", "as if afraid",
               "while feeling nervous", "in a timid way", "as if unsure"],
        gait=["with small unsure steps", "with hesitant steps", "with careful steps"],
        walk=["creep", "tiptoe"],
    ),
    "masculine": dict(
        adjectives=["masculine", "manly", "strong", "tough", "macho", "burly", "muscular"],
        adverbs=["strongly", "powerfully", "firmly", "boldly", "sturdily"],
        tails=["in a masculine way", "like a man", "in a manly way", "like a tough guy", "with strength",
               "like a macho man",
               "in a masculine manner"],
        gait=["with wide steps", "with a masculine gait", "with big strong steps", "with long strides"],
        walk=["stride", "march"],
        who=["neutral", "man"],
    ),
    "feminine": dict(
        adjectives=["feminine", "ladylike", "elegant", "graceful", "womanly", "delicate"],
        adverbs=["elegantly", "gracefully", "softly", "gently", "delicately", "daintily"],
        tails=["in a feminine way", "like a woman", "like a lady", "in a ladylike way", "with grace", "with elegance",
               "like a girl", "in a feminine manner"],
        gait=["with a feminine gait", "with small graceful steps", "with swaying hips", "like a model on a runway"],
        walk=["glide", "sashay"],
        who=["neutral", "woman", "girl"],
    ),
    "childish": dict(
        adjectives=["childish", "playful", "little", "young", "small", "childlike"],
        adverbs=["childishly", "playfully", "innocently", "eagerly", "goofily"],
        tails=["like a child", "like a kid", "in a childish way", "like a little boy", "like a little girl",
               "in a playful way", "as a child would", "like a small child"],
        gait=["with little hops", "with playful steps"],
        walk=["skip", "toddle"],
        subjects=[("child", "neutral"), ("kid", "neutral"), ("little boy", "boy"), ("little girl", "girl"),
                  ("toddler", "neutral"), ("small child", "neutral")],
        who=["neutral", "boy", "girl"],
    ),
    "elderly": dict(
        adjectives=["old", "elderly", "aged", "senior", "frail", "weak"],
        adverbs=["slowly", "slowly", "feebly", "weakly", "carefully", "stiffly", "frailly"],
        tails=["like an old man", "like an old person", "like an elderly person", "with a bent back", "with difficulty",
               "as if very old", "with stiff joints", "like a grandfather", "like an old woman", "with a hunched back"],
        gait=["with slow steps", "with short steps", "at a slow pace", "with shaky steps",
              "with small shuffling steps"],
        walk=["shuffle", "hobble", "totter"],
        subjects=[("old man", "man"), ("old woman", "woman"), ("old person", "neutral"), ("elderly man", "man"),
                  ("elderly woman", "woman"), ("elderly person", "neutral"), ("old lady", "woman"),
                  ("grandfather", "man"), ("grandmother", "woman"), ("senior citizen", "neutral"), ("grandpa", "man")],
        who=["neutral", "man", "woman"],
    ),
    "tired": dict(
        adjectives=["tired", "weary", "sleepy", "worn out", "drowsy", "fatigued"],
        adverbs=["slowly", "tiredly", "slowly", "wearily", "sluggishly", "lazily", "sleepily", "listlessly"],
        tails=["with little energy", "as if tired", "while feeling tired", "in a tired way", "with drooping shoulders",
               "looking tired", "as if sleepy", "after a long day"],
        gait=["with heavy steps", "with dragging feet", "at a slow pace", "with tired legs"],
        walk=["trudge", "plod"],
    ),
    "exhausted": dict(
        adjectives=["exhausted", "worn out", "drained", "tired", "weary", "weak", "fatigued"],
        adverbs=["exhaustedly", "wearily", "slowly", "tiredly", "weakly", "limply", "sluggishly"],
        tails=["with no energy", "as if exhausted", "out of exhaustion", "out of breath",
               "while feeling exhausted",
               "in an exhausted way", "as if about to collapse", "with the last of <his> strength",
               "looking exhausted"],
        gait=["with heavy steps", "with dragging feet", "with exhausted legs", "with staggering steps"],
        walk=["trudge", "stagger", "plod", "stumble"],
    ),
    "active": dict(
        adjectives=["active", "energetic", "lively", "vigorous", "excited", "sporty", "athletic"],
        adverbs=["quickly", "energetically", "actively", "quickly", "briskly", "vigorously", "lively", "eagerly"],
        tails=["with energy", "full of energy", "with a lot of energy", "in an active way", "in an energetic way",
               "fast",
               "with vigor", "in a lively way"],
        gait=["at a brisk pace", "with quick steps", "at a fast pace", "with lively steps", "in a hurry"],
        walk=["march", "stride"],
    ),
    "musical": dict(
        adjectives=["musical", "rhythmic", "theatrical", "dramatic", "expressive"],
        adverbs=["rhythmically", "musically", "theatrically", "dramatically", "expressively"],
        tails=["like in a musical", "as if in a musical", "with rhythm", "like a musical actor", "as if on a stage",
               "as if singing", "in a musical way", "in time with a song", "as if hearing music"],
        gait=["with dance like steps", "with rhythmic steps"],
        walk=["prance", "waltz"],
    ),
    "giant": dict(
        adjectives=["giant", "huge", "gigantic", "enormous", "massive", "towering"],
        adverbs=["heavily", "slowly", "ponderously", "massively", "mightily"],
        tails=["like a giant", "as if huge", "like a huge monster", "like an ogre", "as if very big and heavy",
               "with great weight", "like a gigantic creature", "in a giant way"],
        gait=["with heavy steps", "with giant steps", "with huge steps", "with big stomping steps"],
        walk=["stomp", "lumber", "tramp"],
        subjects=[("giant", "neutral"), ("giant", "man"), ("ogre", "neutral"), ("huge monster", "neutral")],
        who=["neutral", "man"],
    ),
    "chimpira": dict(
        adjectives=["thuggish", "cocky", "arrogant", "rude", "rough", "rowdy", "mean"],
        adverbs=["arrogantly", "aggressively", "rudely", "menacingly", "cockily", "roughly", "insolently"],
        tails=["like a thug", "like a gangster", "with a swagger", "with a bad attitude", "trying to look tough",
               "like a delinquent", "like a punk", "looking for a fight", "in a cocky way", "like a bully"],
        gait=["with a swaggering gait", "with swaggering steps"],
        walk=["swagger", "strut"],
        subjects=[("thug", "neutral"), ("gangster", "man"), ("punk", "neutral"), ("delinquent", "neutral"),
                  ("hoodlum", "man"), ("bully", "neutral")],
        who=["neutral", "man"],
    ),
    "youthful": dict(
        adjectives=["young", "youthful", "fresh", "carefree", "lively", "spirited"],
        adverbs=["youthfully", "lightly", "spiritedly", "freshly", "nimbly", "cheerfully"],
        tails=["like a young person", "with youthful energy", "in a youthful way", "like a teenager",
               "in a carefree way",
               "full of life", "like a young man"],
        gait=["with light steps", "with youthful steps", "with a light gait"],
        subjects=[("young man", "man"), ("young woman", "woman"), ("young person", "neutral"), ("teenager", "neutral"),
                  ("young adult", "neutral"), ("teen", "neutral"), ("youth", "neutral")],
    ),
}  # fmt: skip
# Two data sets, two names for what is the same to a reader.
STYLES["masculinity"] = STYLES["masculine"]
STYLES["old"] = STYLES["elderly"]

# A dash is fast whatever its style: what says otherwise is left out of it.
SLOW = {
    "slow", "sluggish", "lazi", "feebl", "careful", "cautious", "calm", "casual", "relaxed", "normal pace", "heavy",
    "dragging", "small",
}  # fmt: skip

# Adjectives and adverbs that "very" goes with.
INTENSE = {
    "slowly", "quickly", "carefully", "weakly", "heavily", "nervously", "happily", "sadly", "angrily", "proudly",
    "gently", "tired", "old", "happy", "sad", "angry", "proud", "shy", "nervous", "strong", "energetic", "elegant",
}  # fmt: skip

# --- Where, and for how long -----------------------------------------------------------------------------------------

PLACES = {
    "travel": [
        "across the room", "down the street", "for a while", "along the path", "along the road", "through the room",
        "in a straight line", "across the floor", "down the hall", "through the park", "for a few seconds", "outside",
        "through the hallway", "on the ground", "for some time", "down the road", "on a flat surface",
    ],
    "sideways": ["for a while", "for a few seconds", "on the street", "in the room", "outside", "for some time"],
    "action": [
        "for a while", "in place", "for a few seconds", "on the spot", "in the room", "for some time", "repeatedly",
        "over and over", "again and again",
    ],
    "spot": [
        "in place", "while standing", "while standing still", "on the spot", "for a while", "for a moment",
        "for a few seconds", "in the room", "while standing in place", "in a standing position",
    ],
}  # fmt: skip

# The contents that are not done standing on one spot.
PLACE_OF = {
    "walk": "travel", "run": "travel", "dash": "travel", "walk-back": "travel", "walk-left": "sideways",
    "walk-right": "sideways", "walk-turn-left": "sideways", "walk-turn-right": "sideways", "kick": "action",
    "punch": "action", "slash": "action", "dance-short": "action",
}  # fmt: skip

# --- Sentences -------------------------------------------------------------------------------------------------------

# Weight, frame and form of the verb at V: s (walks), ing, past, base. S is the subject; a frame
# with N there instead wants a noun ("show a man walking", never "show he walking").
FRAMES = [
    (36, "S V", "s"),
    (13, "S {be} V", "ing"),
    (7, "N V", "ing"),
    (5, "S V", "past"),
    (1, "S was V", "ing"),
    (2, "S {start} V", "ing"),
    (2, "S {begin} to V", "base"),
    (1, "S {keep} V", "ing"),
    (1, "S {continue} to V", "base"),
    (1, "S can be seen V", "ing"),
    (1, "S {be} seen V", "ing"),
    (1, "S {seem} to be V", "ing"),
    (1, "S {appear} to be V", "ing"),
    (1, "S {decide} to V", "base"),
    (1, "S {want} to V", "base"),
    (3, "N who {be} V", "ing"),
    (1, "N who V", "s"),
    (1, "N that {be} V", "ing"),
    (2, "there is N V", "ing"),
    (1, "this is N V", "ing"),
    (1, "show N V", "ing"),
    (1, "make N V", "base"),
    (1, "let N V", "base"),
    (1, "an animation of N V", "ing"),
    (1, "a motion of N V", "ing"),
    (9, "V", "ing"),
    (8, "V", "base"),
    (1, "please V", "base"),
]


def captions(content: str, style: str, count: int, rng: random.Random) -> list[str]:
    """`count` distinct captions of a clip so labelled; about a third say nothing of the style."""
    found = {}  # a dict keeps the order, so that the same seed gives the same list
    for _ in range(200 * count + 1000):
        if len(found) == count:
            return list(found)
        found.setdefault(_caption(content, style, rng))
    raise ValueError(f"the grammar has fewer than {count} captions for {content}, {style}")


def mirror_caption(caption: str) -> str:
    """The caption of the mirrored clip: left and right trade places, and so do the two ways round."""
    return re.sub(r"[\w-]+", lambda word: _mirror_word(word[0]), caption)


def mirror_content(content: str) -> str:
    """The label of the mirrored clip: raise-up-left-hand to raise-up-right-hand; most contents are their own."""
    return mirror_caption(content)


def _mirror_word(word: str) -> str:
    turns = {"counterclockwise": "clockwise", "anticlockwise": "clockwise", "clockwise": "counterclockwise"}
    if word in turns:
        return turns[word]
    other = {"left": "right", "right": "left"}
    return re.sub(r"(?<![a-z])(left|right)(?=ward|hand|most|$|-)", lambda side: other[side[0]], word)


# --- Joining the tables ----------------------------------------------------------------------------------------------


def _pick(entries: list, rng: random.Random):
    """One of a list that runs from common to rare: the first half comes about twice as often as the second."""
    return entries[int(len(entries) * rng.random() ** 1.6)]


def _caption(content: str, style: str, rng: random.Random) -> str:
    look = _look(content, style)
    if rng.random() < 0.04:
        return _named(content, style, rng)
    phrase = _choose(_pick(CONTENTS[content], rng), rng)
    marks = _marks(content, style, phrase, rng)
    frame, form = _frame(rng, needs_subject=bool(marks & {"adjective", "subject"}))
    subject, his = _subject(frame, form, look, marks, rng)

    if "walk" in marks:
        phrase = phrase.replace("{walk}", "{" + _pick(look["walk"], rng) + "}", 1)
    if "adverb" in marks:
        phrase = _with_adverb(phrase, _intense(_pick(look["adverbs"], rng), rng), rng)
    ends = []
    if rng.random() < (0.25 if phrase.count(" ") < 4 else 0.08) and "stand" not in phrase:
        ends.append(_pick(PLACES[PLACE_OF.get(content, "spot")], rng))
    for kind, entries in (("tail", "tails"), ("gait", "gait")):
        if kind in marks:
            tail = _pick(look[entries], rng)
            if not _stems(f"{subject} {phrase}") & _stems(tail):  # no old man who walks like an old man
                ends.append(tail)
    if rng.random() < 0.25:
        ends.reverse()
    verb = _conjugated(_filled(" ".join([phrase, *ends]), content, his, rng), form)
    caption = re.sub(r"\bV\b", verb, re.sub(r"\b[SN]\b", subject, _conjugated(frame, "s")))
    return " ".join(caption.split())


def _stems(text: str) -> set[str]:
    """What tells happily from happy does not count, nor do the little words."""
    return {word[:4] for word in re.findall(r"[a-z]{3,}", text)} - {"the", "his", "with", "and", "very", "like", "look"}


def _named(content: str, style: str, rng: random.Random) -> str:
    """A caption without a verb: "a tired walk", "a wave of the left hand like a thug"."""
    look = _look(content, style)
    name = _pick(NAMES[content.replace("right", "left")], rng)
    mark = rng.choice(["", "adjective", "tail"])
    if mark == "adjective":
        name = f"{rng.choice(look['adjectives'][:3])} {name}"
    if mark == "tail":
        name = f"{name} {_pick(look['tails'], rng)}"
    name = _filled(name, content, "the", rng)
    return rng.choice([f"{_article(name)} {name}", name])


def _marks(content: str, style: str, phrase: str, rng: random.Random) -> set[str]:
    """Which parts of the sentence speak of the style: none in a third of the captions (most, where it is "normal")."""
    if rng.random() < (0.75 if style == "normal" else 0.34):
        return set()
    look = _look(content, style)
    kinds = ["adverb"] * 4 + ["tail"] * 3 + ["adjective"] * 3
    if "subjects" in look:
        kinds += ["subject"] * 4
    if PLACE_OF.get(content) in ("travel", "sideways") and look["gait"]:
        kinds += ["gait"] * 2
    if "walk" in look and "{walk}" in phrase:
        kinds += ["walk"] * 2
    marks = {rng.choice(kinds)}
    if rng.random() < 0.35:
        marks.add(rng.choice(kinds))
    if "subject" in marks:
        marks.discard("adjective")
    if "gait" in marks:
        marks.discard("tail")
    return marks


def _look(content: str, style: str) -> dict:
    """The words of a style that go with a content."""
    if content != "dash":
        return STYLES[style]
    words = ("adjectives", "adverbs", "tails", "gait")
    fast = {kind: [entry for entry in STYLES[style][kind] if not any(word in entry for word in SLOW)] for kind in words}
    return {**STYLES[style], **fast}


def _frame(rng: random.Random, needs_subject: bool) -> tuple[str, str]:
    frames = [f for f in FRAMES if not needs_subject or re.search(r"\b[SN]\b", f[1])]
    _, frame, form = rng.choices(frames, [f[0] for f in frames])[0]
    return frame, form


def _subject(frame: str, form: str, look: dict, marks: set[str], rng: random.Random) -> tuple[str, str]:
    """The subject with its determiner, and the possessive that goes with it."""
    if not re.search(r"\b[SN]\b", frame):
        return "", rng.choice(["your", "the"] if form == "base" else ["the", "their", "his", "her"])
    groups = look.get("who", list(SUBJECTS))
    group = "neutral" if rng.random() < 0.5 else rng.choice(groups)
    noun = _pick(SUBJECTS[group], rng)
    if "subject" in marks:
        noun, group = _pick(look["subjects"], rng)
    elif "adjective" in marks:
        adjective = _intense(_pick(look["adjectives"], rng), rng)
        relative = rng.random() < 0.12 and "wh" not in frame and "that" not in frame
        noun = f"{noun} who {rng.choice(['is', 'looks', 'seems'])} {adjective}" if relative else f"{adjective} {noun}"
    elif re.search(r"\bS\b", frame) and rng.random() < 0.3:
        return rng.choice(PRONOUNS[group]), _pick(POSSESSIVES[group], rng)
    weights = [70, 20, 2, 8] if frame[0] in "SN" else [1, 0, 0, 0] if " is N" in frame else [70, 30, 0, 0]
    determiner = rng.choices([_article(noun), "the", "this", ""], weights)[0]
    return f"{determiner} {noun}", _pick(POSSESSIVES[group], rng)


def _article(noun: str) -> str:
    return "an" if noun[0] in "aeiou" else "a"


def _intense(word: str, rng: random.Random) -> str:
    return f"very {word}" if word in INTENSE and rng.random() < 0.12 else word


DIRECTIONS = r"(forwards?|backwards?|back|ahead|straight|sideways|diagonally|to the|towards? the)\b|<side>"


def _with_adverb(phrase: str, adverb: str, rng: random.Random) -> str:
    """slowly walk forward, walk slowly forward or walk forward slowly: the middle only before a direction."""
    place = rng.choice(["before", "after", "after", "last", "last"])
    if place == "before":
        return f"{adverb} {phrase}"
    direction = re.match(rf"(\{{[\w-]+\}}) (?={DIRECTIONS})", phrase)
    if place == "after" and direction:
        return f"{direction[1]} {adverb} {phrase[direction.end() :]}"
    return f"{phrase} {adverb}"


def _choose(text: str, rng: random.Random) -> str:
    """(a|b|) to one of them."""
    return re.sub(r"\(([^()]*)\)", lambda m: rng.choice(m[1].split("|")), text)


def _filled(text: str, content: str, his: str, rng: random.Random) -> str:
    """<name> to the word that content and subject give it, or to an entry of FRAGMENTS, until none is left."""
    words = {
        "his": his,
        "hand": "<both hands>" if "both" in content else "<one hand>",
        "it": "them" if "both" in content else "it",
        "side": "right" if "right" in content else "left",
        "clock": "clockwise" if "right" in content else "counterclockwise",
    }
    while "<" in text:
        text = re.sub(r"<([\w ]+)>", lambda m: words.get(m[1]) or _pick(FRAGMENTS[m[1]], rng), text)
    return text


def _conjugated(text: str, form: str) -> str:
    return re.sub(r"\{([\w-]+)\}", lambda m: _verb(m[1], form), text)


def _verb(verb: str, form: str) -> str:
    """A form of a verb: base, s (third person), ing or past."""
    if form == "base":
        return verb
    if form == "s" and verb in ("be", "have"):
        return {"be": "is", "have": "has"}[verb]
    if form == "past" and verb in PAST:
        return PAST[verb]
    ends_in_y = re.search(r"[^aeiou]y$", verb)
    if form == "s":
        return verb[:-1] + "ies" if ends_in_y else verb + ("es" if re.search(r"(s|x|z|ch|sh|o)$", verb) else "s")
    stem = verb + verb[-1] if verb in DOUBLED else verb
    if form == "ing":
        return re.sub(r"(?<![eoy])(?<!gi)e$", "", stem) + "ing"
    return stem[:-1] + "ied" if ends_in_y else stem + ("d" if stem.endswith("e") else "ed")


# Verbs that stand in the tables in one form only, and a few that people type.
MORE_VERBS = (
    "look feel try cry sing drag sway swagger stamp droop stagger shuffle sit jump hop climb kneel squat crouch fall"
    " get let stop turn pick catch stretch limp lean crawl walk clap nod hug drink eat play hear collapse come lead use"
)

# --- Parts of speech -------------------------------------------------------------------------------------------------

# Words by class, for the field of HumanML3D's text files that follows the caption; nouns and verbs of the tables above
# are read from them. A word of two classes is settled by the word before it (see _part).
CLASSES = {
    "DET": "a an the this that both another one's his her their your my our its each every some any all no",
    "PRON": "he she it they them someone somebody everyone who which i you we him himself herself themselves something",
    "ADP": "in on at of with from across along through down up by for to over around about towards toward into onto out"
    " off like as after before past above without under behind near between against round using during",
    "AUX": "is are was were be been can could will would has had does did should may might being am",
    "CCONJ": "and or but",
    "SCONJ": "while if when where that because though",
    "PART": "not",
    "NUM": "one two three four five six seven eight nine ten ninety",
    "ADV": "forward forwards backward backwards back ahead sideways straight upward upwards downward high overhead"
    " again then very away together there still fast outside counterclockwise clockwise anticlockwise diagonally inside"
    " home rearward leftward leftwards rightward rightwards fro really flat out twice once here aloud far too quite"
    " slightly now also next later before hard apart below sometimes almost just even aside",
    "ADJ": "left right light heavy wide great brisk bouncy shaky hesitant stiff"
    " few several deep polite small big short long other normal natural little quick loud raised open"
    " steady easy high low slow ordinary usual regular average full top last martial distant invisible degree half"
    " different same whole same own possible younger careful bent hunched hanging bad good mad own first second next",
    "INTJ": "bye byebye goodbye hello hi please yes",
    # Nouns that look like verbs.
    "NOUN": "ceiling something ceiling building morning evening thing king bed speed upper",
}
IRREGULAR_NOUNS = {"feet": "foot", "men": "man", "women": "woman", "children": "child", "people": "people"}
TAGS = {*CLASSES, "NOUN", "VERB"}


def tag(caption: str) -> str:
    """Lemma and universal part of speech of every word: "a man walks" to "a/DET man/NOUN walk/VERB"."""
    words = [word.replace("-", "") for word in re.findall(r"[\w'-]+", caption.lower())]  # HumanML3D drops hyphens
    tagged = []
    for i, word in enumerate(words):
        before = tagged[i - 1][1] if i else ""
        tagged.append(_part(word, before, words[i + 1] if i + 1 < len(words) else ""))
    return " ".join(f"{lemma}/{part}" for lemma, part in tagged)


def _part(word: str, before: str, after: str) -> tuple[str, str]:
    """Lemma and part of speech of a word, seen between the part before it and the word after it."""
    if word == "being" and before == "NOUN":
        return word, "NOUN"
    if word in ("left", "right"):  # his left arm, the left, turns left
        if after == "turn" or (after and after not in WORD_CLASS and after not in VERB_FORMS):
            return word, "ADJ"
        return word, "NOUN" if before == "DET" else "ADV"
    if word == "to" and VERB_FORMS.get(after) == after:
        return word, "PART"
    if word in VERB_FORMS and word not in WORD_CLASS:
        is_noun = before in ("DET", "ADJ", "NUM") and not word.endswith(("ing", "ed"))
        return VERB_FORMS[word], "NOUN" if is_noun else "VERB"
    if word in WORD_CLASS:
        return word, WORD_CLASS[word]
    if word in IRREGULAR_NOUNS:
        return IRREGULAR_NOUNS[word], "NOUN"
    if word.isdigit():
        return word, "NUM"
    for part, ending in (("ADV", r"(ly|wards?|wise)$"), ("ADJ", r"(ous|ful|ish|ive|less|able|ic|al)$")):
        if re.search(ending, word):
            return word, part
    stem = re.match(r"(\w*[aeiouy]\w*[^e\W])(ing|ed)$", word)
    if stem:
        return _stripped(stem[1]), "VERB"
    if re.search(r"[^su]s$", word) and len(word) > 3:  # after a subject an unknown -s is a verb: he gallops
        return _singular(word), "VERB" if before in ("NOUN", "PRON") else "NOUN"
    return word, "NOUN"


def _stripped(stem: str) -> str:
    """The verb of an unknown -ing or -ed: hopp to hop, danc to dance."""
    if re.search(r"([bdgmnprt])\1$", stem):
        return stem[:-1]
    return stem + "e" if re.search(r"([vzcu]|[^n]g|[aeiou]s)$", stem) else stem


def _singular(word: str) -> str:
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-2] if re.search(r"(x|z|ch|sh|ss)es$", word) else word[:-1]


def _word_classes() -> dict[str, str]:
    classes = {word: part for part, words in CLASSES.items() for word in words.split()}
    for look in STYLES.values():
        for part, entries in (("ADV", look["adverbs"]), ("ADJ", look["adjectives"])):
            for word in " ".join(entries).split():
                classes.setdefault(word.replace("-", ""), part)
    return classes


def _verb_forms() -> dict[str, str]:
    """Every form of every verb of the tables, to its lemma."""
    phrases = [phrase for entries in CONTENTS.values() for phrase in entries] + [frame for _, frame, _ in FRAMES]
    verbs = set(re.findall(r"\{([\w-]+)\}", " ".join(phrases)))
    verbs |= {verb for look in STYLES.values() for verb in look.get("walk", [])} | set(MORE_VERBS.split())
    return {
        _verb(verb, form).replace("-", ""): verb.replace("-", "")
        for verb in sorted(verbs)
        for form in ("past", "ing", "s", "base")
    }


WORD_CLASS = _word_classes()
VERB_FORMS = _verb_forms()
