//! The words and plots of the generated corpus: slots in braces, choices in brackets.

pub(super) const GIRLS: &[&str] = &[
    "Mia", "Ella", "Ruth", "Nora", "Lily", "Tara", "Ines", "Jana", "Rosa", "Wilma", "Ada", "Olga", "Hanna",
    "Clara", "Yuki", "Zoe", "Maya", "Greta",
];
pub(super) const BOYS: &[&str] = &[
    "Tom", "Ben", "Omar", "Paul", "Finn", "Leo", "Hugo", "Karl", "Sami", "Nils", "Jack", "Ravi", "Otto",
    "Emil", "Anton", "Luis", "Peter", "Max",
];
pub(super) const ANIMALS: &[&str] = &[
    "dog", "cat", "fox", "owl", "rabbit", "bear", "duck", "goat", "mouse", "frog", "horse", "hedgehog",
    "squirrel", "turtle", "crow", "pig", "deer", "otter", "ant", "eagle",
];
pub(super) const PET_NAMES: &[&str] = &[
    "Biscuit", "Pepper", "Cloud", "Button", "Ginger", "Smoke", "Bramble", "Pebble", "Toffee", "Comet",
    "Moss", "Velvet",
];
pub(super) const PLACES: &[&str] = &[
    "garden",
    "forest",
    "park",
    "village",
    "market",
    "meadow",
    "harbour",
    "orchard",
    "field",
    "valley",
    "castle",
    "school yard",
    "old mill",
    "town square",
    "barn",
    "library",
];
pub(super) const HIDINGS: &[&str] = &[
    "under the bed",
    "behind the door",
    "in the tall grass",
    "on the roof",
    "inside a basket",
    "near the well",
    "between two stones",
    "under the stairs",
    "in a hollow tree",
    "behind the oven",
    "beside the pond",
    "in an old boot",
];
pub(super) const ADJECTIVES: &[&str] = &[
    "red", "blue", "green", "yellow", "orange", "golden", "tiny", "old", "shiny", "wooden", "striped",
    "soft", "purple", "silver",
];
pub(super) const THINGS: &[&str] = &[
    "kite", "ball", "hat", "key", "book", "lamp", "drum", "boat", "coin", "scarf", "bell", "cup", "whistle",
    "map", "doll", "umbrella", "ring", "bucket",
];
pub(super) const FOODS: &[&str] = &[
    "apple pie",
    "soup",
    "bread",
    "honey cake",
    "pancakes",
    "plum jam",
    "porridge",
    "cookies",
    "cheese",
    "carrot cake",
    "noodles",
    "cherry tart",
];
/// To do it; done.
pub(super) const SKILLS: &[[&str; 2]] = &[
    ["swim", "swam"],
    ["ride a bicycle", "rode a bicycle"],
    ["climb the tall tree", "climbed the tall tree"],
    ["play the flute", "played the flute"],
    ["row the boat", "rowed the boat"],
    ["read a long book", "read a long book"],
    ["bake bread", "baked bread"],
    ["skate on the ice", "skated on the ice"],
    ["tie a strong knot", "tied a strong knot"],
    ["sing a high song", "sang a high song"],
];
pub(super) const ELDERS: &[&str] = &[
    "grandmother",
    "grandfather",
    "mother",
    "father",
    "uncle",
    "aunt",
    "teacher",
    "neighbour",
    "big sister",
    "big brother",
];
pub(super) const WEATHERS: &[&str] =
    &["sunny", "windy", "cold", "warm", "foggy", "cloudy", "quiet", "bright"];
pub(super) const DAYS: &[&str] = &[
    "One day",
    "One morning",
    "One evening",
    "On Monday",
    "On Saturday",
    "Last summer",
    "Last winter",
    "In spring",
    "Yesterday",
    "One afternoon",
];
pub(super) const COUNTED: &[&str] = &[
    "apples", "stones", "shells", "buttons", "marbles", "flowers", "books", "coins", "pencils", "nuts",
    "feathers", "stamps",
];

/// One kind of story.
#[derive(Clone, Copy)]
pub(super) struct Plot {
    /// In order; of each one alternative is told.
    pub(super) beats: &'static [&'static [&'static str]],
    /// With their answers.
    pub(super) questions: &'static [(&'static str, &'static str)],
}

pub(super) const PLOTS: &[Plot] = &[LOST, RESCUE, MEAL, STORM, RACE, LESSON, SHARING, GIFT, SECRET, NIGHT];

const LOST: Plot = Plot {
    beats: &[
        &[
            "{hero} had {a thing}.",
            "{day}, {hero} got {a thing} from {his} {elder}.",
            "Once there was a child called {hero}. {he} loved {his} {thing} very much.",
        ],
        &[
            "{day}, {he} took it to the {place}, but when {he} came home, it was gone.",
            "{he} [played|ran|danced] in the {place} all day, and in the evening the {thing} was gone.",
            "It was a {weather} day, and {hero} lost the {thing} in the {place}.",
        ],
        &[
            "{hero} was [sad|very sad|worried] and began to cry.",
            "\"Where is my {thing}?\" asked {hero}.",
            "{he} looked [everywhere|here and there|in every room], but {he} could not find it.",
        ],
        &[
            "{his} friend {friend} said, \"do not worry. I will help you.\"",
            "Then {friend} came by. \"We will look together,\" said {friend}.",
            "{friend} saw {him} and wanted to help.",
        ],
        &[
            "They looked [for a long time|until it was dark|in many places].",
            "First they looked in the kitchen, and then they looked outside.",
            "A little {animal} watched them and [smiled|waited|said nothing].",
        ],
        &[
            "At last {friend} found the {thing} {hiding}.",
            "Then {friend} [shouted|called|cried], \"here it is!\" The {thing} was {hiding}.",
        ],
        &[
            "{hero} was [happy|so glad|full of joy] and thanked {friend}.",
            "\"Thank you!\" said {hero}. {he} [laughed|smiled] and hugged {friend}.",
            "From that day on, {hero} kept the {thing} in a safe place.",
        ],
    ],
    questions: &[
        ("What did {hero} lose?", "{hero} lost {a thing}."),
        ("Who found the {thing}?", "{friend} found the {thing}."),
        ("Where was the {thing}?", "The {thing} was {hiding}."),
        ("Who helped {hero}?", "{friend} helped {him}."),
    ],
};

const RESCUE: Plot = Plot {
    beats: &[
        &[
            "{day}, {hero} walked through the {place}.",
            "It was a {weather} morning, and {hero} went to the {place}.",
            "{hero} liked to walk in the {place} with {his} {elder}.",
        ],
        &[
            "There {he} heard a [small|strange|soft] sound.",
            "Suddenly {he} heard a cry for help.",
            "{he} saw something [small|grey|brown] {hiding}.",
        ],
        &[
            "It was {a animal} with a hurt leg.",
            "A young {animal} was stuck there and could not get out.",
            "{a animal} lay there. It was cold and hungry.",
        ],
        &[
            "\"Poor little {animal},\" said {hero}. \"I will help you.\"",
            "{hero} was a little afraid, but {he} wanted to help.",
            "\"Please help me,\" said the {animal}. \"I want to go home.\"",
        ],
        &[
            "{he} gave it [water|milk|some {food}] and a warm blanket.",
            "Carefully {he} picked it up and carried it home.",
            "{he} called {friend}, and together they pulled it out.",
        ],
        &[
            "After [three|four|five|ten] days the {animal} was well again.",
            "Soon the {animal} could run and play.",
        ],
        &[
            "{hero} named it {pet}, and they became best friends.",
            "{hero} called the {animal} {pet}. Every morning {pet} waited at the door.",
            "The {animal} was called {pet}, and it never forgot {hero}.",
        ],
    ],
    questions: &[
        ("Who helped the {animal}?", "{hero} helped the {animal}."),
        ("What was the name of the {animal}?", "The name of the {animal} was {pet}."),
        ("Where did {hero} walk?", "{hero} walked in the {place}."),
        ("What animal did {hero} find?", "{hero} found {a animal}."),
    ],
};

const MEAL: Plot = Plot {
    beats: &[
        &[
            "{day}, {hero} was hungry.",
            "{hero} and {his} {elder} were in the kitchen.",
            "It was a {weather} day, and {hero} wanted to make {food}.",
        ],
        &["\"Let us make {food},\" said {his} {elder}.", "{he} asked {his} {elder}, \"can we make {food}?\""],
        &[
            "But there was no [flour|milk|butter|salt] in the house, so {hero} went to the market.",
            "They needed [flour|sugar|eggs|butter], so {hero} ran to the shop.",
            "{hero} washed {his} hands and took a big bowl.",
        ],
        &[
            "They mixed and stirred until their arms were tired.",
            "{hero} stirred slowly, and {his} {elder} told a story.",
            "Soon the whole house smelled [good|sweet|wonderful].",
        ],
        &[
            "When the {food} was ready, {friend} knocked on the door.",
            "Then {friend} came with {a animal}. Both were hungry too.",
            "{friend} smelled the {food} and came in.",
        ],
        &["\"Come and eat with us,\" said {hero}.", "{hero} gave {friend} the biggest [piece|plate|part]."],
        &[
            "They ate until nothing was left.",
            "Everyone was full and happy.",
            "\"This is the best {food} in the world,\" said {friend}.",
        ],
    ],
    questions: &[
        ("What did {hero} make?", "{hero} made {food}."),
        ("Who helped {hero} to cook?", "{his} {elder} helped {him}."),
        ("Who came to eat?", "{friend} came to eat."),
    ],
};

const STORM: Plot = Plot {
    beats: &[
        &[
            "{day}, {hero} and {friend} went to the {place}.",
            "{hero} and {friend} played in the {place} with {a thing}.",
        ],
        &[
            "First it was {weather}, but then dark clouds came.",
            "Suddenly the wind began to blow, and the sky turned [black|grey|dark].",
        ],
        &[
            "\"It is going to rain,\" said {friend}. \"We must go home.\"",
            "There was thunder and lightning, and {hero} was afraid.",
            "The rain fell hard, and they were wet in a minute.",
        ],
        &[
            "They ran as fast as they could, but home was far away.",
            "{hero} took {friend} by the hand, and they ran.",
        ],
        &[
            "Then {a animal} called, \"come in here! It is dry in my house.\"",
            "They found a small house, and {a animal} opened the door.",
            "\"Look,\" said {friend}, \"there is a cave!\" In the cave lived {a animal}.",
        ],
        &[
            "The {animal} gave them [warm tea|{food}|a warm blanket], and they told stories.",
            "They sat by the fire and listened to the rain.",
        ],
        &[
            "When the sun came back, there was a rainbow over the {place}.",
            "At last the storm was over, and they thanked the {animal} and went home.",
            "In the evening they were home again. \"What a day!\" said {hero}.",
        ],
    ],
    questions: &[
        ("Who helped the children?", "{a animal} helped them."),
        ("Where did {hero} and {friend} go?", "They went to the {place}."),
        ("Who was with {hero}?", "{friend} was with {him}."),
    ],
};

const RACE: Plot = Plot {
    beats: &[
        &[
            "{a animal} and {a other} lived in the {place}.",
            "Once upon a time there was a proud {animal}. In the same {place} lived {a other}.",
        ],
        &[
            "\"I am faster than you,\" said the {animal}.",
            "The {animal} always said, \"nobody is as fast as I am.\"",
        ],
        &[
            "\"Let us race to the [river|old tree|bridge|hill],\" said the {other}.",
            "The {other} was slow but clever. \"We will see,\" it said.",
        ],
        &["{day}, all the animals came to watch.", "{a weather} morning came, and the race began."],
        &[
            "The {animal} ran ahead, but then it stopped to [sleep|eat|look at itself in the water].",
            "The {animal} was so sure of itself that it lay down and slept.",
        ],
        &["The {other} went on and on, step by step, and did not stop.", "Quietly the {other} walked past."],
        &[
            "The {other} won the race. \"Slow and steady wins,\" it said.",
            "When the {animal} woke up, the {other} had won. After that the {animal} was not so proud.",
            "So the {other} won, and the {animal} said, \"you were better today.\"",
        ],
    ],
    questions: &[
        ("Who won the race?", "The {other} won the race."),
        ("Who was proud?", "The {animal} was proud."),
        ("Where did the animals live?", "They lived in the {place}."),
    ],
};

const LESSON: Plot = Plot {
    beats: &[
        &[
            "{hero} wanted to learn to {do}.",
            "All the children could {do}, but {hero} could not.",
            "\"I want to {do},\" said {hero}.",
        ],
        &[
            "{day}, {he} tried for the first time, but it did not work.",
            "{he} tried and tried, but it was too hard.",
        ],
        &[
            "{he} was [angry|sad|tired] and wanted to stop.",
            "\"I will never learn it,\" said {hero}.",
            "{friend} laughed, and that made {hero} [sad|angry].",
        ],
        &[
            "But {his} {elder} said, \"nobody learns it in one day. Try again.\"",
            "\"Do not give up,\" said {his} {elder}. \"I will show you how.\"",
        ],
        &[
            "So {hero} tried again every [day|morning|evening].",
            "{he} practised in the {place} for [two|three|six] weeks.",
        ],
        &["Then, on a {weather} day, {hero} {did}.", "And one day it worked: {hero} {did}!"],
        &[
            "{his} {elder} was very proud of {him}.",
            "\"I did it!\" {he} shouted. Everyone clapped.",
            "Now {he} helps {friend} to learn it too.",
        ],
    ],
    questions: &[
        ("What did {hero} want to learn?", "{hero} wanted to learn to {do}."),
        ("Who helped {hero}?", "{his} {elder} helped {him}."),
    ],
};

const SHARING: Plot = Plot {
    beats: &[
        &[
            "{hero} and {friend} found {a thing} in the {place}.",
            "{day}, {hero} and {friend} saw {a thing} {hiding}.",
        ],
        &["\"It is mine,\" said {hero}. \"I saw it first.\"", "Both wanted to have the {thing}."],
        &[
            "\"No, it is mine,\" said {friend}.",
            "{friend} pulled, and {hero} pulled too.",
            "{friend} was angry and did not want to play any more.",
        ],
        &[
            "A wise old {animal} heard them. \"Why do you fight?\" it asked.",
            "Then {a animal} came by. \"I have an idea,\" it said.",
        ],
        &[
            "\"Today {hero} may have it, and tomorrow {friend} may have it,\" said the {animal}.",
            "\"Two can play better than one,\" said the {animal}.",
        ],
        &[
            "{hero} thought about it. \"You are right,\" {he} said.",
            "{friend} looked at {hero}, and {friend_he} began to laugh.",
        ],
        &[
            "From then on, they shared the {thing} and were friends again.",
            "So they played together until the sun went down.",
        ],
    ],
    questions: &[
        ("What did the children find?", "They found {a thing}."),
        ("Who had an idea?", "{a animal} had an idea."),
        ("Who wanted the {thing}?", "{hero} and {friend} wanted the {thing}."),
    ],
};

const GIFT: Plot = Plot {
    beats: &[
        &["It was the birthday of {friend}.", "{day}, {hero} heard that it was the birthday of {friend}."],
        &[
            "{hero} wanted to give {friend_him} something, but {he} had no money.",
            "\"What can I give {friend_him}?\" thought {hero}.",
        ],
        &[
            "{he} went to the {place} to think about it.",
            "{he} asked {his} {elder}, and {his} {elder} had an idea.",
        ],
        &[
            "So {hero} made {a thing} with {his} own hands.",
            "{hero} worked all night, and in the morning {a thing} was ready.",
        ],
        &[
            "{he} put it into a box and went to {friend_his} house.",
            "On the way {he} met {a animal}. \"What a fine gift!\" said the {animal}.",
        ],
        &[
            "{friend} opened the box and saw the {thing}.",
            "\"This is for you,\" said {hero} and gave {friend_him} the {thing}.",
        ],
        &[
            "\"It is the best gift of all,\" said {friend}.",
            "{friend_he} was so happy that {friend_he} danced.",
            "Then they all ate {food} and sang songs.",
        ],
    ],
    questions: &[
        ("Whose birthday was it?", "It was the birthday of {friend}."),
        ("What did {hero} give {friend}?", "{hero} gave {friend_him} {a thing}."),
        ("Who made the {thing}?", "{hero} made the {thing}."),
    ],
};

const SECRET: Plot = Plot {
    beats: &[
        &["In the {place} there was an old door that nobody opened.", "{hero} found a small door {hiding}."],
        &[
            "{day}, {hero} found {a thing} in front of it.",
            "\"What is behind it?\" asked {hero} again and again.",
        ],
        &[
            "{he} knocked three times, and the door opened.",
            "{he} pushed it slowly, and it opened with a loud noise.",
        ],
        &[
            "Behind it sat {a animal} with a big hat.",
            "There was a long, dark hall, and at its end sat {a animal}.",
        ],
        &[
            "\"You are the first child to come here,\" said the {animal}. \"What is your name?\" \"I am {hero}.\"",
            "\"Good day,\" said the {animal}. \"I have waited a hundred years for you.\"",
        ],
        &[
            "It gave {him} {a thing} and said, \"tell nobody.\"",
            "They drank tea and ate {food}, and the {animal} told {him} a secret.",
        ],
        &[
            "{hero} went home and told only {friend}.",
            "The next day the door was gone, but {hero} never forgot the {animal}.",
            "{he} came back every week, and nobody ever knew.",
        ],
    ],
    questions: &[
        ("Who sat behind the door?", "{a animal} sat behind the door."),
        ("Who opened the door?", "{hero} opened the door."),
    ],
};

const NIGHT: Plot = Plot {
    beats: &[
        &[
            "{hero} could not sleep.",
            "It was night, and {hero} lay in {his} bed.",
            "The moon was [full|round|bright], and {hero} was still awake.",
        ],
        &["{he} heard a noise {hiding}.", "Something moved {hiding}."],
        &[
            "\"Is it a ghost?\" {he} thought.",
            "{he} pulled the blanket over {his} head.",
            "{he} called {his} {elder}, but nobody came.",
        ],
        &["Then {he} took a lamp and looked.", "At last {he} was brave and got up."],
        &["It was only {pet}, the {animal}.", "There sat {a animal} called {pet} and ate {food}."],
        &[
            "\"You are no ghost,\" said {hero} and laughed.",
            "{pet} looked at {him} with big eyes and was afraid too.",
        ],
        &[
            "{hero} took {pet} into {his} arms, and soon both were asleep.",
            "In the morning {hero} told {friend} about it, and they laughed together.",
            "After that night {hero} was not afraid of the dark any more.",
        ],
    ],
    questions: &[
        ("What made the noise?", "{pet} the {animal} made the noise."),
        ("Who could not sleep?", "{hero} could not sleep."),
        ("Where was the noise?", "The noise was {hiding}."),
    ],
};
