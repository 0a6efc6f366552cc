use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use psann_data::tokenizer;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::*;

fn folder() -> PathBuf {
    psann_golden::set_directory("lmeval")
}

fn clock() -> Clock {
    Clock::parse("2031-02-03T04:05:06").unwrap()
}

fn conversation(messages: Value) -> Conversation {
    let Value::Array(messages) = messages else { panic!("messages are a list") };
    Conversation::new(messages, clock())
}

fn chat() -> Conversation {
    conversation(json!([{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "Here, é🚢"}]))
}

/// The template's text for [`chat`].
fn render(source: &str) -> Result<Rendered> {
    ChatTemplate::new(source)?.render(&chat(), Rendering::Plain)
}

/// The template's text for [`chat`], or the failure.
fn text(source: &str) -> String {
    match render(source) {
        Ok(rendered) => rendered.text,
        Err(error) => {
            let failure = TemplateFailure::of(&error).map(|failure| failure.kind);
            format!("{}: {error}", failure.map_or("no failure".into(), |kind| format!("{kind:?}")))
        }
    }
}

/// The conversations of the golden set, by id.
fn conversations() -> BTreeMap<String, Conversation> {
    let set: Value =
        serde_json::from_str(&fs::read_to_string(folder().join("chat/conversations.json")).unwrap()).unwrap();
    let list = |value: &Value| value.as_array().cloned();
    let entries = set["conversations"].as_array().unwrap().iter().map(|entry| {
        let conversation = Conversation {
            messages: list(&entry["messages"]).unwrap(),
            tools: list(&entry["tools"]),
            documents: list(&entry["documents"]),
            variables: entry["kwargs"].as_object().cloned().unwrap_or_default(),
            special_tokens: serde_json::from_value(set["special_tokens"].clone()).unwrap(),
            clock: Clock::parse(set["now"].as_str().unwrap()).unwrap(),
        };
        (entry["id"].as_str().unwrap().to_owned(), conversation)
    });
    entries.collect()
}

/// Compares all golden rows for which `python_repr` is as given; returns how many there are.
fn compare(python_repr: bool) -> usize {
    let conversations = conversations();
    let rows = fs::read_to_string(folder().join("chat/expected.jsonl")).unwrap();
    let (mut compared, mut wrong) = (0, Vec::new());
    for row in rows.split_terminator('\n') {
        let row: Value = serde_json::from_str(row).unwrap();
        if row["python_repr"].as_bool().unwrap_or_default() != python_repr {
            continue;
        }
        let name = row["template"].as_str().unwrap();
        let source = fs::read_to_string(folder().join(format!("chat/templates/{name}.jinja"))).unwrap();
        let how = match row["mode"].as_str().unwrap() {
            "plain" => Rendering::Plain,
            "prompt" => Rendering::Prompt,
            "continue" => Rendering::Continue,
            other => panic!("mode {other}"),
        };
        let template = ChatTemplate::new(&source).unwrap_or_else(|e| panic!("{name}: {e}"));
        let rendered = template.render(&conversations[row["conversation"].as_str().unwrap()], how);
        if let Err(difference) = check(&row, rendered) {
            wrong.push(format!("{name}, {}, {}: {difference}", row["conversation"], row["mode"]));
        }
        compared += 1;
    }
    assert!(wrong.is_empty(), "{} of {compared} differ:\n{}", wrong.len(), wrong.join("\n"));
    compared
}

/// Compares one rendering with the reference's.
fn check(row: &Value, rendered: Result<Rendered>) -> Result<(), String> {
    let rendered = match (rendered, row["error"].as_str()) {
        (Ok(rendered), None) => rendered,
        (Ok(rendered), Some(error)) => return Err(format!("should fail with {error}, is {:?}", rendered.text)),
        (Err(error), None) => return Err(format!("fails: {error}")),
        (Err(error), Some("raise_exception")) => {
            let failure = TemplateFailure::of(&error).ok_or("no failure of the template")?;
            let same = failure.kind == FailureKind::Raised && failure.message == row["message"].as_str().unwrap();
            return if same { Ok(()) } else { Err(format!("other error: {error}")) };
        }
        (Err(_), Some(_)) => return Ok(()),
    };
    if rendered.text != row["text"].as_str().unwrap() {
        return Err(format!("text\n{:?}\nfor\n{}", rendered.text, row["text"]));
    }
    if let Some(spans) = row["spans"].as_array() {
        let ours: Vec<Value> = rendered.generation_spans.iter().map(|span| json!([span.start, span.end])).collect();
        if ours != *spans {
            return Err(format!("spans {ours:?} for {spans:?}"));
        }
    }
    for (name, expected) in row["masks"].as_object().into_iter().flatten() {
        let tokenizer = tokenizer::open(&folder().join("tokenizers").join(name)).unwrap();
        let (ids, mask) = assistant_mask(&rendered, &tokenizer, MaskRule::Transformers).unwrap();
        let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        let hash: String = Sha256::digest(bytes).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let ours = json!({"n_ids": ids.len(), "ids_sha": hash, "assistant": runs(&mask)});
        if ours != *expected {
            return Err(format!("mask with {name}: {ours} for {expected}"));
        }
    }
    Ok(())
}

/// `[start, end)` of the runs that are set.
fn runs(mask: &[bool]) -> Vec<[usize; 2]> {
    let mut runs: Vec<[usize; 2]> = Vec::new();
    for (index, _) in mask.iter().enumerate().filter(|(_, set)| **set) {
        match runs.last_mut() {
            Some(last) if last[1] == index => last[1] += 1,
            _ => runs.push([index, index + 1]),
        }
    }
    runs
}

#[test]
fn golden_lmeval_chat() {
    assert!(compare(false) > 0);
}

#[test]
fn golden_lmeval_chat_python_repr() {
    assert!(compare(true) > 0);
}

#[test]
fn golden_lmeval_chat_templates_of_prompts_render() {
    for entry in fs::read_dir(folder().join("t1/templates")).unwrap() {
        let path = entry.unwrap().path();
        let template = ChatTemplate::new(&fs::read_to_string(&path).unwrap()).unwrap();
        let rendered = template.render(&conversations()["basic"], Rendering::Prompt).unwrap();
        assert!(rendered.text.contains("Where is the ferry?"), "{}", path.display());
    }
}

#[test]
fn a_refusal_is_told_from_a_mistake_as_jinja_tells_them() {
    let failure = |source: &str| TemplateFailure::of(&render(source).unwrap_err()).unwrap().clone();
    let refusal = failure("a\n{{ raise_exception('No ' ~ messages[0].role ~ '!') }}");
    assert_eq!((refusal.kind, refusal.message.as_str(), refusal.line), (FailureKind::Raised, "No user!", Some(2)));
    assert!(failure("{% macro m() %}{{ raise_exception('x') }}{% endmacro %}{{ m() | trim }}").is_template_error());
    for undefined in
        ["nothing.at_all", "'a' + nothing", "nothing + 'a'", "messages[0].nothing.more", "'a'.nothing()", "nothing()"]
    {
        assert!(failure(&format!("{{{{ {undefined} }}}}")).is_template_error(), "{undefined}");
    }
    for operation in ["'a' + 1", "'a' + messages", "messages[0] + 1"] {
        assert!(!failure(&format!("{{{{ {operation} }}}}")).is_template_error(), "{operation}");
    }
    let empty = ChatTemplate::new("x").unwrap().render(&conversation(json!([])), Rendering::Plain).unwrap_err();
    assert_eq!(TemplateFailure::of(&empty), None);
}

#[test]
fn errors_name_the_line_and_what() {
    insta::assert_snapshot!(text("{{ raise_exception('System role not supported') }}"), @"Raised: the chat template refuses this conversation: System role not supported");
    insta::assert_snapshot!(text("\n\n{{ 'a' + nothing }}"), @"Undefined: the chat template fails in line 3: tried to use + operator on unsupported types string and undefined");
    insta::assert_snapshot!(text("{% for m in messages %}\n{{ m.content.shout() }}\n{% endfor %}"), @"Undefined: the chat template fails in line 2: unknown method: string has no method named shout");
    insta::assert_snapshot!(text("{{ messages | colour }}"), @"Undefined: the chat template fails in line 1: unknown filter: filter colour is unknown");
    insta::assert_snapshot!(text("a\n{% if messages %}\nb"), @"Operation: the chat template has a mistake in line 3: syntax error: unexpected end of input, expected end of block");
    insta::assert_snapshot!(text("a\n{% generation %}\nb"), @"Operation: the chat template has a mistake in line 3: syntax error: unexpected end of input, expected end of block");
    insta::assert_snapshot!(text("{{ namespace | tojson }}"), @"Operation: the chat template fails in line 1: a value of type plain object cannot be written as JSON");
    insta::assert_snapshot!(text("{% include 'other' %}"), @"Operation: the chat template fails in line 1: template not found: tried to include non-existing template 'other'");
}

#[test]
fn conversations_that_cannot_be_rendered_are_refused() {
    let said = |messages: Value, how| {
        let template = ChatTemplate::new("{{ messages[-1].content[:4] }}").unwrap();
        let error = template.render(&conversation(messages), how).unwrap_err();
        format!("{error}\n{}", error.hint_text().unwrap())
    };
    insta::assert_snapshot!(said(json!([]), Rendering::Plain), @r"
        the conversation has no messages
        a chat template needs at least one
        ");
    insta::assert_snapshot!(said(json!([{"role": "user"}, "hello"]), Rendering::Plain), @r#"
        message 2 of the conversation is no object
        a message looks like {"role": "user", "content": "…"}
        "#);
    insta::assert_snapshot!(said(json!([{"role": "user", "content": null}]), Rendering::Continue), @r"
        the last message cannot be continued: it has no `content`
        end the conversation with a message that has text in its `content`
        ");
    insta::assert_snapshot!(said(json!([{"role": "user", "content": "a long text"}]), Rendering::Continue), @r"
        the last message cannot be continued: the chat template does not show it as it is
        the template leaves out or rewrites parts of messages; continue a message that it keeps
        ");
    let mut chat = chat();
    chat.variables.insert("messages".into(), json!([]));
    let error = ChatTemplate::new("x").unwrap().render(&chat, Rendering::Plain).unwrap_err();
    insta::assert_snapshot!(error, @"`messages` is no variable to give to a chat template");
}

#[test]
fn templates_without_end_are_stopped() {
    for source in [
        "{% for i in range(10**9) %}x{% endfor %}",
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}",
        "{% set ns = namespace(x='x') %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x=[]) %}{% for i in range(9999) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x=[]) %}{% for i in range(9999) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x | tojson }}",
        "{% set ns = namespace(x=messages) %}{% for i in range(99999) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x == [] }}{{ 1 / 0 }}",
        "{{ 'x' * 10**12 }}",
        "{{ messages | tojson(indent=10**12) | length * 'x' }}{{ [0] * 10**9 }}",
    ] {
        let error = render(source).unwrap_err();
        assert!(TemplateFailure::of(&error).is_some(), "{source}: {error}");
    }
    insta::assert_snapshot!(text("a\n{% for i in range(99999) %}{% for j in range(999) %}{% endfor %}{% endfor %}"), @"Limit: the chat template was stopped in line 2: it takes more work than a template may");
    insta::assert_snapshot!(text("{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}"), @"Limit: the chat template was stopped in line 1: recursion limit exceeded");
}

#[test]
fn values_are_written_as_python_writes_them() {
    insta::assert_snapshot!(text("{{ [1, 2.0, 1e16, 0.0001, 0.00001, 1.5e-7, true, none, 'it\\'s', {'a': [()]}] }}"), @r#"[1, 2.0, 1e+16, 0.0001, 1e-05, 1.5e-07, True, None, "it's", {'a': [()]}]"#);
    insta::assert_snapshot!(text("{{ 1e22 }} {{ 123456789012345680.0 }} {{ 0.1 }} {{ none }} {{ true }} {{ nothing }}|"), @"1e+22 1.2345678901234568e+17 0.1 None True |");
    insta::assert_snapshot!(text("{{ messages[:1] }} {{ messages[:1] | string | length }} {{ (1,) }}"), @"[{'role': 'user', 'content': 'Where?'}] 39 (1,)");
    insta::assert_snapshot!(text("{{ none is iterable }} {{ 'a' is iterable }} {{ 1 is iterable }} {{ messages[1:] is sequence }} {{ {} is sequence }}"), @"False True False True True");
}

#[test]
fn texts_have_the_methods_of_python() {
    insta::assert_snapshot!(text(r"{{ ' a  b c '.split() }}{{ ' a  b c '.split(none, 1) }}{{ ' a  b c '.rsplit(maxsplit=1) }}{{ 'a,b,,c'.split(',') }}{{ 'a,b,c'.rsplit(',', 1) }}"), @"['a', 'b', 'c']['a', 'b c '][' a  b', 'c']['a', 'b', '', 'c']['a,b', 'c']");
    insta::assert_snapshot!(text(r"{{ 'a\nb\r\nc\n\n'.splitlines() }}{{ 'a\nb\r\n'.splitlines(true) }}{{ '\u001c x \u2003'.strip() }}|{{ 'xxaxx'.strip('x') }}{{ ' x'|trim }}"), @r"['a', 'b', 'c', '']['a\n', 'b\r\n']x|ax");
    insta::assert_snapshot!(text(r"{{ 'a=b=c'.partition('=') }}{{ 'a=b=c'.rpartition('=') }}{{ 'a'.partition('=') }}{{ 'user_x'.removeprefix('user_') }}{{ 'a.md'.removesuffix('.md') }}"), @"('a', '=', 'b=c')('a=b', '=', 'c')('a', '', '')xa");
    insta::assert_snapshot!(text(r#"{{ "it's o'clock".title() }} {{ 'abcb'.index('b') }} {{ 'abcb'.rindex('b') }} {{ ' \t'.isspace() }} {{ 'é🚢x'.find('x') }}"#), @"It'S O'Clock 1 3 True 2");
    let indented =
        "{{ 'a\n\nb\n'|indent }}|{{ 'a\n\nb'|indent('-', true, true) }}|{{ 'a\nb'|indent(width=1, first=true) }}";
    assert_eq!(text(indented), "a\n\n    b\n|-a\n-\n-b| a\n b");
    insta::assert_snapshot!(text("{{ 'abc'.index('z') }}"), @"Operation: the chat template fails in line 1: the text to find is not there");
}

#[test]
fn json_is_written_as_python_writes_it() {
    let check = |arguments: &str, value: Value, expected: &str| {
        let mut chat = chat();
        chat.variables.insert("value".into(), value);
        let template = ChatTemplate::new(&format!("{{{{ value | tojson{arguments} }}}}")).unwrap();
        assert_eq!(template.render(&chat, Rendering::Plain).unwrap().text, expected, "{arguments}");
    };
    let value = json!({"b": [1, 2.5, 1e20, -0.0, true, null], "a": {}, "c": []});
    check("", value.clone(), r#"{"b": [1, 2.5, 1e+20, -0.0, true, null], "a": {}, "c": []}"#);
    check(
        "(sort_keys=true, separators=(',', ':'))",
        value.clone(),
        r#"{"a":{},"b":[1,2.5,1e+20,-0.0,true,null],"c":[]}"#,
    );
    check(
        "(indent=2)",
        json!({"a": [1, {"b": 2}], "c": {}}),
        "{\n  \"a\": [\n    1,\n    {\n      \"b\": 2\n    }\n  ],\n  \"c\": {}\n}",
    );
    check("(indent='\t', separators=[' ;', '=>'])", json!([1, {"b": 2}]), "[\n\t1 ;\n\t{\n\t\t\"b\"=>2\n\t}\n]");
    check("(indent=0)", json!([1]), "[\n1\n]");
    let text = json!("<é🚢> & 'q' \"d\" \\ \n\t\r\u{8}\u{c}\u{1}\u{7f}\u{2028}");
    check("", text.clone(), "\"<é🚢> & 'q' \\\"d\\\" \\\\ \\n\\t\\r\\b\\f\\u0001\u{7f}\u{2028}\"");
    check("(true)", text, r#""<\u00e9\ud83d\udea2> & 'q' \"d\" \\ \n\t\r\b\f\u0001\u007f\u2028""#);
    assert_eq!(text_of_keys(), r#"{"1": 0, "null": 3, "2.5": 4, "false": 5}"#);
}

fn text_of_keys() -> String {
    text("{{ {1: 0, none: 3, 2.5: 4, false: 5} | tojson }}")
}

proptest! {
    #[test]
    fn json_is_read_back_as_it_was(value in any_json()) {
        let mut chat = chat();
        chat.variables.insert("value".into(), value.clone());
        for arguments in ["", "(true)", "(indent=3)", "(separators=(',', ':'))"] {
            let template = ChatTemplate::new(&format!("{{{{ value | tojson{arguments} }}}}")).unwrap();
            let text = template.render(&chat, Rendering::Plain).unwrap().text;
            let back: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(back, value.clone());
        }
    }

    #[test]
    fn spans_are_the_characters_of_the_blocks(contents in prop::collection::vec("(\\PC|\n|é|🚢|\u{E000}){0,12}", 1..6)) {
        let messages = contents.iter().map(|content| json!({"role": "assistant", "content": content})).collect();
        let template = ChatTemplate::new("{% for m in messages %}ß{% generation %}{{ m.content }}{% endgeneration %}|{% endfor %}");
        let rendered = template.unwrap().render(&Conversation::new(messages, clock()), Rendering::Plain).unwrap();
        prop_assert_eq!(&blocks(&rendered), &contents);
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter("JSON has no others", |number| number.is_finite()).prop_map(Value::from),
        "\\PC{0,8}|[\u{0}-\u{ff}]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map("\\PC{0,5}", inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// The texts of the generation blocks.
fn blocks(rendered: &Rendered) -> Vec<String> {
    let span = |span: &Range<usize>| rendered.text.chars().skip(span.start).take(span.len()).collect();
    rendered.generation_spans.iter().map(span).collect()
}

#[test]
fn generation_tags_are_found_where_they_are_tags() {
    let check = |source: &str, text: &str, spans: &[&str]| {
        let rendered = render(source).unwrap_or_else(|e| panic!("{source}: {e}"));
        assert_eq!(rendered.text, text, "{source}");
        assert_eq!(blocks(&rendered), spans, "{source}");
    };
    check("é {% generation %} a {% endgeneration %} b", "é  a  b", &[" a "]);
    check("é {%- generation -%} a {%- endgeneration -%} b", "éab", &["a"]);
    check("é\n  {%+ generation %}\n a\n  {% endgeneration %}\n b", "é\n   a\n b", &[" a\n"]);
    check("{%generation%}a{%endgeneration%}{% generation %}{% endgeneration %}", "a", &["a", ""]);
    check("{# {% generation %} #}{{ '{% generation %}' }}", "{% generation %}", &[]);
    check("{% raw %}{% generation %}{%- endraw -%} x", "{% generation %}x", &[]);
    check("{{ {'a': {'b': '}}'}}['a']['b'] }}{% generation %}x{% endgeneration %}", "}}x", &["x"]);
    check("{% set y = '%}' %}{% generation %}{% set y = 'q' %}{{ y }}{% endgeneration %}{{ y }}", "q%}", &["q"]);
    check(
        "{% for m in messages %}{{ loop.index }}{% generation %}{{ loop.index }}{{ m.role }}{% endgeneration %}{% endfor %}",
        "11user22assistant",
        &["1user", "2assistant"],
    );
    check(
        "{% macro m() %}é{% generation %}x{% endgeneration %}{% endmacro %}a{{ m() }}{{ m() }}",
        "aéxéx",
        &["x", "x"],
    );
    check("{% set s %}é{% generation %}x{% endgeneration %}{% endset %}a{{ s }}{{ s | trim }}", "aéxéx", &["x", "x"]);
    check("a{% generation %}b{% generation %}c{% endgeneration %}d{% endgeneration %}", "abcd", &["c", "bcd"]);
}

#[test]
fn a_mask_of_whole_characters_covers_all_tokens_of_the_last_one() {
    let rendered = render("é{% generation %}{{ messages[1].content }}{% endgeneration %}🚢").unwrap();
    let tokenizer = tokenizer::open(&folder().join("tokenizers/byte")).unwrap();
    let (ids, mask) = assistant_mask(&rendered, &tokenizer, MaskRule::WholeCharacters).unwrap();
    let content = "Here, é🚢".len();
    assert_eq!(runs(&mask), [[2, 2 + content]]);
    assert_eq!(ids.len(), rendered.text.len());
    let (_, reference) = assistant_mask(&rendered, &tokenizer, MaskRule::Transformers).unwrap();
    assert_eq!(runs(&reference), [[2, 2 + content - 3]], "the reference leaves out three bytes of the ship");
}

#[test]
fn special_tokens_come_from_the_tokenizer() {
    let tokens = |name: &str| special_tokens(&tokenizer::open(&folder().join("tokenizers").join(name)).unwrap());
    assert_eq!(tokens("byte")["bos_token"], "<|bos|>");
    assert_eq!(tokens("byte_eos").into_iter().collect::<Vec<_>>(), [("eos_token".to_owned(), "<|eos|>".to_owned())]);
}

#[test]
fn many_threads_render_with_one_template() {
    let template = ChatTemplate::new("{% generation %}{{ messages[0].content }}{% endgeneration %}").unwrap();
    let render = |n: usize| {
        let content = "é".repeat(n);
        let rendered = template.render(&conversation(json!([{"role": "user", "content": content}])), Rendering::Plain);
        let rendered = rendered.unwrap();
        assert_eq!((&rendered.text, blocks(&rendered)), (&content, vec![content.clone()]));
    };
    std::thread::scope(|scope| {
        for n in 0..4 {
            scope.spawn(move || {
                for m in 0..100 {
                    render(n * 7 + m);
                }
            });
        }
    });
}
