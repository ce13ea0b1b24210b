//! A corpus that needs no file: short stories with questions about them, and arithmetic, from a small grammar.
//!
//! The words are ours, so the corpus has no licence to heed. It is a function of its seed: document n is the same
//! whatever is asked before it. Small enough a language that a model of three million parameters learns to speak it
//! within minutes; no substitute for text.

mod plots;

use crate::random;
use plots::{PLOTS, Plot};

/// The corpus of `seed`: documents 0 to `documents` − 1. About seven in ten are stories, the others arithmetic.
pub fn corpus(seed: u64, documents: usize) -> impl Iterator<Item = String> + Send {
    (0..documents as u64).map(move |number| document(Dice { seed, document: number, throws: 0 }))
}

fn document(mut dice: Dice) -> String {
    match dice.below(10) {
        0 => sums(&mut dice),
        1 => word_problem(&mut dice),
        2 => counting(&mut dice),
        _ => story(&mut dice),
    }
}

/// Throws that depend on the seed, the document and how many came before.
struct Dice {
    seed: u64,
    document: u64,
    throws: u64,
}

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        let draw = random::draw(self.seed, self.document, self.throws);
        self.throws += 1;
        random::below(draw, bound as u64) as usize
    }

    fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

#[derive(Clone, Copy)]
struct Person {
    name: &'static str,
    /// he, him, his
    pronouns: [&'static str; 3],
}

/// Who and what a story is about: the values of the slots in its sentences.
struct Scene {
    hero: Person,
    friend: Person,
    animal: &'static str,
    other_animal: &'static str,
    pet_name: &'static str,
    place: &'static str,
    hiding: &'static str,
    thing: String,
    food: &'static str,
    skill: [&'static str; 2],
    elder: &'static str,
    weather: &'static str,
    day: &'static str,
}

impl Scene {
    fn throw(dice: &mut Dice) -> Self {
        let person = |dice: &mut Dice| {
            let (names, pronouns) = match dice.below(2) {
                0 => (plots::GIRLS, ["she", "her", "her"]),
                _ => (plots::BOYS, ["he", "him", "his"]),
            };
            Person { name: dice.pick(names), pronouns }
        };
        let hero = person(dice);
        let friend = another(dice, person, |friend| friend.name != hero.name);
        let animal = dice.pick(plots::ANIMALS);
        let other_animal = another(dice, |d| d.pick(plots::ANIMALS), |other| *other != animal);
        Self {
            hero,
            friend,
            animal,
            other_animal,
            pet_name: dice.pick(plots::PET_NAMES),
            place: dice.pick(plots::PLACES),
            hiding: dice.pick(plots::HIDINGS),
            thing: format!("{} {}", dice.pick(plots::ADJECTIVES), dice.pick(plots::THINGS)),
            food: dice.pick(plots::FOODS),
            skill: dice.pick(plots::SKILLS),
            elder: dice.pick(plots::ELDERS),
            weather: dice.pick(plots::WEATHERS),
            day: dice.pick(plots::DAYS),
        }
    }

    /// The value of a slot. `a NAME` puts the article before it.
    fn slot(&self, name: &str) -> String {
        if let Some(name) = name.strip_prefix("a ") {
            let value = self.slot(name);
            let article = if value.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
            return format!("{article} {value}");
        }
        let value = match name {
            "hero" => self.hero.name,
            "he" => self.hero.pronouns[0],
            "him" => self.hero.pronouns[1],
            "his" => self.hero.pronouns[2],
            "friend" => self.friend.name,
            "friend_he" => self.friend.pronouns[0],
            "friend_him" => self.friend.pronouns[1],
            "friend_his" => self.friend.pronouns[2],
            "animal" => self.animal,
            "other" => self.other_animal,
            "pet" => self.pet_name,
            "place" => self.place,
            "hiding" => self.hiding,
            "thing" => &self.thing,
            "food" => self.food,
            "do" => self.skill[0],
            "did" => self.skill[1],
            "elder" => self.elder,
            "weather" => self.weather,
            "day" => self.day,
            _ => panic!("a sentence has the unknown slot '{name}'"),
        };
        value.to_owned()
    }
}

/// Throws until `fits`.
fn another<T>(dice: &mut Dice, throw: impl Fn(&mut Dice) -> T, fits: impl Fn(&T) -> bool) -> T {
    loop {
        let value = throw(dice);
        if fits(&value) {
            return value;
        }
    }
}

fn story(dice: &mut Dice) -> String {
    let scene = Scene::throw(dice);
    let Plot { beats, questions } = dice.pick(PLOTS);
    let sentences: Vec<String> = beats.iter().map(|beat| sentence(dice.pick(beat), &scene, dice)).collect();
    let mut text = sentences.join(" ");
    if dice.below(2) == 0 {
        let first = dice.below(questions.len());
        for (question, answer) in [questions[first], questions[(first + 1) % questions.len()]] {
            let (question, answer) = (sentence(question, &scene, dice), sentence(answer, &scene, dice));
            text.push_str(&format!("\nQuestion: {question}\nAnswer: {answer}"));
        }
    }
    text
}

/// Fills `{slots}`, throws for `[one|of|these]` (which do not nest), and begins each sentence with a capital.
fn sentence(template: &str, scene: &Scene, dice: &mut Dice) -> String {
    let mut filled = String::with_capacity(template.len() + 32);
    let mut rest = template;
    while let Some(at) = rest.find('[') {
        let (choices, after) = rest[at + 1..].split_once(']').expect("a choice ends");
        let choices: Vec<&str> = choices.split('|').collect();
        fill(&mut filled, &rest[..at], scene);
        fill(&mut filled, dice.pick(&choices), scene);
        rest = after;
    }
    fill(&mut filled, rest, scene);
    capitalise(&filled)
}

fn fill(out: &mut String, template: &str, scene: &Scene) {
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').expect("a slot ends");
        out.push_str(before);
        out.push_str(&scene.slot(name));
        rest = after;
    }
    out.push_str(rest);
}

/// Capitals at the beginning, after the end of a sentence, and after an opening quotation mark.
fn capitalise(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut is_begin = true;
    for c in text.chars() {
        match is_begin && c.is_alphabetic() {
            true => out.push(c.to_ascii_uppercase()),
            false => out.push(c),
        }
        is_begin = match c {
            '.' | '!' | '?' => true,
            // Only a mark that opens speech, not the one after which it goes on: "Why?" she asked.
            '"' => out == "\"" || out.ends_with(" \""),
            ' ' => is_begin,
            _ => false,
        };
    }
    out
}

/// A column of sums: `12 + 7 = 19`.
fn sums(dice: &mut Dice) -> String {
    let line = |dice: &mut Dice| {
        let (a, b) = (dice.below(60), dice.below(40));
        match dice.below(4) {
            0 | 1 => format!("{a} + {b} = {}", a + b),
            2 => format!("{} - {b} = {a}", a + b),
            _ => format!("{} x {} = {}", a % 11, b % 11, (a % 11) * (b % 11)),
        }
    };
    let lines = dice.between(4, 8);
    (0..lines).map(|_| line(dice)).collect::<Vec<_>>().join("\n")
}

fn word_problem(dice: &mut Dice) -> String {
    let scene = Scene::throw(dice);
    let thing = dice.pick(plots::COUNTED);
    let (first, second) = (dice.between(2, 20), dice.between(2, 20));
    let (hero, friend, he) = (scene.hero.name, scene.friend.name, scene.hero.pronouns[0]);
    let begin = format!("{hero} has {first} {thing}.");
    let end = |question: &str, sum: &str, result: usize| {
        format!("\nQuestion: {question}\nAnswer: {sum} = {result}. {hero} has {result} {thing}.")
    };
    let now = format!("How many {thing} does {hero} have now?");
    let lost = second.min(first - 1);
    match dice.below(3) {
        0 => {
            let verb = dice.pick(&["gives", "brings"]);
            let gift = format!(" {friend} {verb} {} {second} more.", scene.hero.pronouns[1]);
            begin + &gift + &end(&now, &format!("{first} + {second}"), first + second)
        }
        1 => {
            let loss = match dice.below(2) {
                0 => format!(" Then {he} gives {lost} of them to {friend}."),
                _ => format!(" On the way to the {}, {he} loses {lost} of them.", scene.place),
            };
            begin + &loss + &end(&now, &format!("{first} - {lost}"), first - lost)
        }
        _ => {
            let find = format!(" In the {}, {he} finds {second} more.", scene.place);
            begin + &find + &end(&now, &format!("{first} + {second}"), first + second)
        }
    }
}

/// Counting up or down by a step.
fn counting(dice: &mut Dice) -> String {
    let (begin, step, steps) = (dice.below(30), dice.pick(&[1, 2, 3, 5, 10]), dice.between(6, 12));
    let mut numbers: Vec<String> = (0..steps).map(|n| (begin + n * step).to_string()).collect();
    let (name, direction) = (dice.pick(plots::GIRLS), dice.below(2));
    if direction == 1 {
        numbers.reverse();
    }
    let direction = ["up", "down"][direction];
    format!("{name} counts {direction} by {step}: {}.", numbers.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_same_seed_gives_the_same_documents_one_by_one() {
        let all: Vec<_> = corpus(1, 200).collect();
        assert_eq!(all, corpus(1, 200).collect::<Vec<_>>());
        assert_eq!(corpus(1, 200).nth(150).as_ref(), all.get(150));
        assert_ne!(all, corpus(2, 200).collect::<Vec<_>>());
    }

    #[test]
    fn documents_are_clean_and_hardly_repeat() {
        let documents: Vec<_> = corpus(3, 5000).collect();
        for text in &documents {
            assert!(!text.contains(['{', '}', '[', ']', '|']), "{text}");
            assert!(!text.contains("  ") && text.trim() == text && !text.is_empty(), "{text:?}");
            assert!(!text.starts_with(|c: char| c.is_lowercase()) && text.len() < 1500, "{text}");
            assert!(
                !text.contains(" a a") && !text.contains(" a o") && !text.contains(" the the "),
                "{text}"
            );
        }
        let distinct = documents.iter().collect::<HashSet<_>>().len();
        assert!(distinct > 4950, "{distinct}");
        let words =
            documents.iter().flat_map(|d| d.split(|c: char| !c.is_alphabetic())).collect::<HashSet<_>>();
        assert!(words.len() > 500, "{} words", words.len());
    }

    #[test]
    fn every_alternative_of_every_plot_can_be_told() {
        let mut dice = Dice { seed: 5, document: 0, throws: 0 };
        let scene = Scene::throw(&mut dice);
        for Plot { beats, questions } in PLOTS {
            let answers = questions.iter().flat_map(|&(q, a)| [q, a]);
            for template in beats.iter().flat_map(|b| b.iter().copied()).chain(answers) {
                let told = sentence(template, &scene, &mut dice);
                assert!(told.ends_with(['.', '!', '?', '"']), "{told}");
            }
        }
    }

    #[test]
    fn sums_are_right() {
        let lines: Vec<_> =
            corpus(4, 3000).flat_map(|d| d.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
        let mut checked = 0;
        for line in lines {
            let parts: Vec<_> = line.trim_start_matches("Answer: ").split(' ').collect();
            let [a, sign @ ("+" | "-" | "x"), b, "=", c, ..] = parts[..] else { continue };
            let [a, b, c] = [a, b, c.trim_end_matches('.')].map(|n| n.parse::<usize>().unwrap());
            let right = match sign {
                "+" => a + b == c,
                "-" => a == b + c,
                _ => a * b == c,
            };
            assert!(right, "{line}");
            checked += 1;
        }
        assert!(checked > 1000, "{checked}");
    }

    #[test]
    fn capitals_follow_sentence_ends() {
        assert_eq!(capitalise("he ran. she cried, \"go on!\""), "He ran. She cried, \"Go on!\"");
        assert_eq!(
            capitalise("\"why?\" asked mia. \"i know!\" he said."),
            "\"Why?\" asked mia. \"I know!\" he said."
        );
        assert_eq!(capitalise("\"no,\" said mia."), "\"No,\" said mia.");
    }
}
