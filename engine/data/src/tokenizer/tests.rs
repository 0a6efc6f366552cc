use std::fs;

use proptest::prelude::*;

use super::*;

fn texts() -> Vec<String> {
    let words = ["the sea", "a ship", "white whale", "and then", "it is a truth", "universally"];
    (0..200).map(|n| format!("{} {}, {}.\n", words[n % 6], words[(n / 6) % 6], words[(n * 5) % 6])).collect()
}

fn trained() -> TextTokenizer {
    train_bpe(&TrainBpeOptions { vocab: psann_core::quantity::Count(320), ..TrainBpeOptions::default() }, &texts())
        .unwrap()
}

#[test]
fn the_same_text_gives_the_same_tokenizer_with_fixed_special_ids() {
    let tokenizer = trained();
    assert_eq!(tokenizer.json().unwrap(), trained().json().unwrap());
    let special = tokenizer.special();
    assert_eq!((special.pad, special.bos, special.eos, special.unknown), (Some(0), Some(1), Some(2), Some(3)));
    assert!((270..=320).contains(&tokenizer.vocabulary()), "{}", tokenizer.vocabulary());
    assert!(tokenizer.encode("the sea").unwrap().len() < 7, "merges were learnt");
}

#[test]
fn a_stored_tokenizer_is_the_trained_one() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = trained();
    fs::write(folder.path().join(FILE), tokenizer.json().unwrap()).unwrap();
    fs::write(folder.path().join(load::SPECIAL), tokenizer.special_json()).unwrap();
    let loaded = open(folder.path()).unwrap();
    assert_eq!(loaded.identity(), tokenizer.identity());
    assert_eq!(loaded.special(), tokenizer.special());
    fs::remove_file(folder.path().join(load::SPECIAL)).unwrap();
    assert_eq!(open(&folder.path().join(FILE)).unwrap().special(), tokenizer.special(), "known spellings are found");
}

#[test]
fn special_tokens_in_the_map_may_be_objects_and_must_exist() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(FILE), trained().json().unwrap()).unwrap();
    let map = folder.path().join(load::SPECIAL);
    fs::write(&map, r#"{"eos_token": {"content": "<|pad|>"}}"#).unwrap();
    assert_eq!(open(folder.path()).unwrap().special().eos, Some(0));
    fs::write(&map, r#"{"eos_token": "</nothing>"}"#).unwrap();
    assert!(open(folder.path()).unwrap_err().to_string().contains("</nothing>"));
}

#[test]
fn a_tokenizer_without_an_end_of_document_is_refused() {
    let json = trained().json().unwrap().replace("<|eos|>", "<|other|>");
    let tokenizer =
        TextTokenizer::new(tokenizers::Tokenizer::from_bytes(json).unwrap(), [None, None, None, None]).unwrap();
    let error = check_text(&tokenizer, &texts(), false).unwrap_err();
    assert_eq!(error.to_string(), "the tokenizer has no token that ends a document (EOS)");
    assert!(error.hint_text().unwrap().contains("special_tokens_map.json"));
}

#[test]
fn a_tokenizer_that_loses_text_is_refused_unless_that_is_accepted() {
    let mut json: serde_json::Value = serde_json::from_str(&trained().json().unwrap()).unwrap();
    json["normalizer"] = serde_json::json!({ "type": "Lowercase" });
    let inner = tokenizers::Tokenizer::from_bytes(json.to_string()).unwrap();
    let tokenizer = TextTokenizer::new(inner, [None, Some("<|eos|>".into()), None, None]).unwrap();
    let samples = ["It is a Truth".to_owned()];
    let error = check_text(&tokenizer, &samples, false).unwrap_err();
    assert_eq!(error.to_string(), "the tokenizer loses text: \"It is a Truth\" came back as \"it is a truth\"");
    assert!(check_text(&tokenizer, &samples, true).is_ok());
}

#[test]
fn a_model_too_small_for_the_tokenizer_is_refused_with_both_numbers() {
    let error = check_vocabulary(320, 100).unwrap_err();
    assert_eq!(error.to_string(), "the model's `vocab` is 100, but the tokenizer has 320 tokens");
    assert!(check_vocabulary(320, 384).is_ok());
}

#[test]
fn a_vocabulary_without_room_for_all_bytes_is_refused() {
    let options = TrainBpeOptions { vocab: psann_core::quantity::Count(100), ..TrainBpeOptions::default() };
    assert!(train_bpe(&options, &texts()).unwrap_err().to_string().contains("too small"));
}

proptest! {
    #[test]
    fn every_string_survives(text in "(\\PC|[\\n\\t\\r ]|<\\|eos\\|>|🐋|é){0,40}") {
        use std::sync::OnceLock;
        static TOKENIZER: OnceLock<TextTokenizer> = OnceLock::new();
        let tokenizer = TOKENIZER.get_or_init(trained);
        let ids = tokenizer.encode(&text).unwrap();
        prop_assert_eq!(tokenizer.decode(&ids).unwrap(), text);
    }
}

#[test]
fn a_spelled_special_token_is_text_in_documents_and_that_token_in_prompts() {
    let tokenizer = trained();
    let (bos, eos) = (tokenizer.special().bos.unwrap(), tokenizer.special().eos.unwrap());
    let text = format!("{}the sea{}", tokenizer.spelling(bos).unwrap(), tokenizer.spelling(eos).unwrap());
    let prompt = tokenizer.encode_markup(&text, false).unwrap();
    assert_eq!((prompt[0], *prompt.last().unwrap()), (bos, eos));
    assert_eq!(prompt[1..prompt.len() - 1], tokenizer.encode("the sea").unwrap());
    assert!(!tokenizer.encode(&text).unwrap().contains(&bos));
    assert_eq!(tokenizer.spelling(1 << 20), None);
}

#[test]
fn spans_count_characters_and_cover_the_text() {
    let tokenizer = trained();
    let text = "né the → sea𝄞";
    let spans = tokenizer.encode_spans(text).unwrap();
    assert_eq!(spans.iter().map(|(id, _)| *id).collect::<Vec<_>>(), tokenizer.encode_markup(text, false).unwrap());
    let mut next = 0;
    for (_, span) in &spans {
        assert!(span.start <= next && span.end >= next, "{span:?}");
        next = span.end;
    }
    assert_eq!(next, text.chars().count());
}
