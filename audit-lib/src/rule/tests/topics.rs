//! The first pattern decides, whoever asks and however often.

use super::*;

fn rules() -> Rules {
    let topic = |pattern: &str, id| TopicRule::new(pattern).and_then(|t| t.with(None, None, Some(id))).expect("good");
    Rules::with(
        7,
        vec![
            topic("orders", "json:/a"),
            topic("^ord.*", "json:/b"),
            topic("^.*-raw", "content"),
            topic("^x.*", "default"),
        ],
    )
}

#[test]
fn the_first_that_matches_decides() {
    let rules = rules();
    let of = |topic: &str| rules.of(topic).clone();
    let by = |id| Rule::with(7, Recipe::parse(None, None, Some(id)).expect("good"));
    for _ in 0..2 {
        assert_eq!((of("orders"), of("ordinary-raw"), of("a-raw")), (by("json:/a"), by("json:/b"), by("content")));
        assert_eq!((of("x"), of("payments")), (Rule::new(7), Rule::new(7)));
    }
    assert_eq!(Rules::new(7).of("orders"), &Rule::new(7));
    let said = TopicRule::new("^a(").expect_err("no expression").to_string();
    assert!(said.starts_with("topic pattern '^a(':"), "{said}");
}

#[test]
fn what_a_thread_remembers_is_right_for_thousands_of_topics_and_several_rules() {
    let topic = |pattern: &str, id| TopicRule::new(pattern).and_then(|t| t.with(None, None, Some(id))).expect("good");
    let by = |id| Rule::with(7, Recipe::parse(None, None, Some(id)).expect("good"));
    let (some, others) = (rules(), Rules::with(7, vec![topic("^.*", "content")]));
    let (ordered, content, default) = (by("json:/b"), by("content"), by("default"));
    for i in 0..5_000 {
        let (name, meant) = if i % 3 == 0 { ("ord", &ordered) } else { ("payments", &default) };
        let topic = format!("{name}{i}");
        assert_eq!((some.of(&topic), others.of(&topic), some.of(&topic)), (meant, &content, meant));
    }
}

#[test]
fn rules_that_tell_the_same_are_equal() {
    let topic = |pattern: &str, id| TopicRule::new(pattern).and_then(|t| t.with(None, None, Some(id))).expect("good");
    assert_eq!(rules(), rules());
    assert_eq!(Rules::with(7, vec![topic("^x.*", "default")]), Rules::new(7));
    assert_ne!(Rules::new(7), Rules::new(8));
    assert_ne!(Rules::with(7, vec![topic("a", "content")]), Rules::new(7));
    assert_ne!(
        Rules::with(7, vec![topic("a", "default"), topic("^.*", "content")]),
        Rules::with(7, vec![topic("^.*", "content")])
    );
}
