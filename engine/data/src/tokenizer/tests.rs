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
    fs::write(folder.path().join(SPECIAL), tokenizer.special_json()).unwrap();
    let loaded = open(folder.path()).unwrap();
    assert_eq!(loaded.identity(), tokenizer.identity());
    assert_eq!(loaded.special(), tokenizer.special());
    fs::remove_file(folder.path().join(SPECIAL)).unwrap();
    assert_eq!(open(&folder.path().join(FILE)).unwrap().special(), tokenizer.special(), "known spellings are found");
}

#[test]
fn special_tokens_in_the_map_may_be_objects_and_must_exist() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(FILE), trained().json().unwrap()).unwrap();
    let map = folder.path().join(SPECIAL);
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

/// A folder with the trained tokenizer and `files`.
fn folder_with(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(FILE), trained().json().unwrap()).unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

/// Spelling of bos, eos, pad and unk of the tokenizer in a folder with `files`.
fn special_of(files: &[(&str, &str)]) -> String {
    let folder = folder_with(files);
    match open(folder.path()) {
        Ok(tokenizer) => {
            let special = tokenizer.special();
            let names = [special.bos, special.eos, special.pad, special.unknown];
            names.map(|id| id.map_or("-".into(), |id| tokenizer.spelling(id).unwrap())).join(" ")
        }
        Err(error) => {
            let hint = error.hint_text().unwrap().replace(&folder.path().display().to_string(), "FOLDER");
            format!("{error} ({hint})")
        }
    }
}

#[test]
fn the_first_file_that_says_anything_of_a_special_token_names_it() {
    insta::assert_snapshot!(special_of(&[]), @"<|bos|> <|eos|> <|pad|> <|unk|>");
    insta::assert_snapshot!(special_of(&[(CONFIG, "{}")]), @"<|bos|> <|eos|> <|pad|> <|unk|>");
    let config = r#"{"eos_token": {"content": "<|eos|>"}, "bos_token": null, "unk_token": "<|unk|>"}"#;
    insta::assert_snapshot!(special_of(&[(CONFIG, config)]), @"- <|eos|> - <|unk|>");
    let map = r#"{"eos_token": "<|pad|>", "unk_token": null}"#;
    insta::assert_snapshot!(special_of(&[(CONFIG, config), (SPECIAL, map)]), @"- <|pad|> - -");
    insta::assert_snapshot!(special_of(&[(SPECIAL, r#"{"bos_token": "<|eos|>"}"#)]), @"<|eos|> - - -");
    insta::assert_snapshot!(special_of(&[(CONFIG, r#"{"eos_token": "</s>"}"#)]), @"the special token `</s>` is not in the tokenizer's vocabulary (correct `FOLDER/tokenizer_config.json`)");
}

#[test]
fn golden_lmeval_tokenizers_have_the_special_tokens_and_templates_of_their_configuration() {
    let all = psann_golden::set_directory("lmeval").join("tokenizers");
    let mut read = 0;
    for entry in fs::read_dir(all).unwrap() {
        let folder = entry.unwrap().path();
        let config: Value = serde_json::from_str(&fs::read_to_string(folder.join(CONFIG)).unwrap()).unwrap();
        let tokenizer = open(&folder).unwrap();
        let special = tokenizer.special();
        for (name, id) in [("bos_token", special.bos), ("eos_token", special.eos), ("pad_token", special.pad)] {
            let spelling = id.and_then(|id| tokenizer.spelling(id));
            assert_eq!(spelling.as_deref(), config[name].as_str(), "{name} of {}", folder.display());
        }
        let template = config["chat_template"].as_str().unwrap().to_owned();
        assert_eq!(tokenizer.chat_templates(), [NamedTemplate { name: "default".into(), text: template }]);
        assert_eq!(tokenizer.model_max_length(), None, "1e30 is no length");
        read += 1;
    }
    assert!(read > 0);
}

#[test]
fn chat_templates_come_from_the_first_place_that_has_any() {
    let names = |files: &[(&str, &str)]| {
        let templates = chat_templates(folder_with(files).path()).unwrap();
        templates.iter().map(|one| format!("{}={}", one.name, one.text)).collect::<Vec<_>>().join(" ")
    };
    let config =
        (CONFIG, r#"{"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]}"#);
    let old = ("chat_template.json", r#"{"chat_template": "old"}"#);
    assert_eq!(names(&[]), "");
    assert_eq!(names(&[old]), "default=old");
    assert_eq!(names(&[old, (CONFIG, "{}")]), "default=old");
    assert_eq!(names(&[old, config]), "tool_use=t default=d");
    assert_eq!(names(&[old, config, (TEMPLATE, "j")]), "default=j");
    let more = ("additional_chat_templates/rag.jinja", "r");
    assert_eq!(names(&[config, (TEMPLATE, "j"), more]), "default=j rag=r");
    let folder = folder_with(&[(CONFIG, r#"{"chat_template": 5}"#)]);
    let error = chat_templates(folder.path()).unwrap_err().to_string();
    insta::assert_snapshot!(error.replace(&folder.path().display().to_string(), "FOLDER"), @"`chat_template` in `FOLDER/tokenizer_config.json` is no template");
}

#[test]
fn a_saved_tokenizer_has_all_that_python_reads() {
    let folder = tempfile::tempdir().unwrap();
    trained().save(folder.path()).unwrap();
    insta::assert_snapshot!(fs::read_to_string(folder.path().join(CONFIG)).unwrap(), @r#"
        {
          "tokenizer_class": "PreTrainedTokenizerFast",
          "clean_up_tokenization_spaces": false,
          "bos_token": "<|bos|>",
          "eos_token": "<|eos|>",
          "pad_token": "<|pad|>",
          "unk_token": "<|unk|>"
        }
        "#);
    assert_eq!(files(folder.path()), [FILE, SPECIAL, CONFIG].map(|name| folder.path().join(name)));
    fs::remove_file(folder.path().join(CONFIG)).unwrap();
    assert_eq!(files(folder.path()), FILES.map(|name| folder.path().join(name)));
}

#[test]
fn what_stands_beside_a_tokenizer_goes_where_it_goes() {
    let saved = |files: &[(&str, &str)]| {
        let (from, to) = (folder_with(files), tempfile::tempdir().unwrap());
        let tokenizer = open(from.path()).unwrap();
        tokenizer.save(to.path()).unwrap();
        let again = open(to.path()).unwrap();
        assert_eq!(again.special(), tokenizer.special());
        assert_eq!(again.chat_templates(), tokenizer.chat_templates());
        assert_eq!(again.model_max_length(), tokenizer.model_max_length());
        (fs::read_to_string(to.path().join(CONFIG)).unwrap(), fs::read_to_string(to.path().join(TEMPLATE)).ok())
    };
    let config = r#"{"tokenizer_class":"Own", "clean_up_tokenization_spaces": true, "model_max_length": 2048, "eos_token":"<|eos|>",  "chat_template": "c"}"#;
    let (same, template) = saved(&[(CONFIG, config)]);
    assert_eq!(
        (same.as_str(), template.as_deref()),
        (config, Some("c")),
        "a configuration that is right stays as it is"
    );
    let (other, _) = saved(&[(CONFIG, config), (SPECIAL, r#"{"eos_token": "<|pad|>"}"#), (TEMPLATE, "j")]);
    insta::assert_snapshot!(other, @r#"
        {
          "tokenizer_class": "Own",
          "clean_up_tokenization_spaces": true,
          "model_max_length": 2048,
          "eos_token": "<|pad|>",
          "chat_template": "j"
        }
        "#);
    let (listed, template) = saved(&[(TEMPLATE, "j"), ("additional_chat_templates/rag.jinja", "r")]);
    assert_eq!(template, None);
    insta::assert_snapshot!(listed, @r#"
        {
          "tokenizer_class": "PreTrainedTokenizerFast",
          "clean_up_tokenization_spaces": false,
          "bos_token": "<|bos|>",
          "eos_token": "<|eos|>",
          "pad_token": "<|pad|>",
          "unk_token": "<|unk|>",
          "chat_template": [
            {
              "name": "default",
              "template": "j"
            },
            {
              "name": "rag",
              "template": "r"
            }
          ]
        }
        "#);
}
