//! Chat templates of known models, and hostile ones.

use text::chat::{BUILT_IN, ChatTemplate, Message};

fn message(role: &str, content: &str) -> Message {
    Message { role: role.into(), content: content.into() }
}

fn conversation() -> Vec<Message> {
    vec![
        message("system", "Be brief."),
        message("user", " Hello! "),
        message("assistant", "Hi."),
        message("user", "Why?"),
    ]
}

/// Llama-3.1's without tools, with its date.
const LLAMA31: &str = r#"{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}

{#- This block extracts the system message, so we can slot it into the right place. #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\n\n" }}
{{- "Cutting Knowledge Date: December 2023\n" }}
{{- "Today Date: " + date_string + "\n\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif message.role == "tool" %}
        {{- message.content | tojson }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}
"#;

/// SmolLM2's: ChatML with a system message of its own.
const SMOLLM2: &str = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}\
    {{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}\
    {{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}\
    {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// The parts of Qwen-3's that are Python: namespaces, slices backwards, methods of strings.
const QWEN3: &str = r"{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == 'user' and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content %}
    {%- if message.role == 'assistant' %}
        {%- if '</think>' in content %}
            {%- set content = content.split('</think>')[-1].lstrip('\n') %}
        {%- endif %}
    {%- endif %}
    {{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\n\n</think>\n\n' }}
    {%- endif %}
{%- endif %}";

/// Mistral's first: it refuses what does not alternate.
const MISTRAL: &str = "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\
    {{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}\
    {% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}\
    {{ message['content'] + eos_token}}{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}\
    {% endfor %}";

#[test]
fn conversations_become_what_the_models_know() {
    let built_in = |name: &str| BUILT_IN.iter().find(|(known, _)| *known == name).unwrap().1;
    let cases = [
        (
            built_in("bitnet"),
            "<s>System: Be brief.<|eot_id|>User: Hello!<|eot_id|>Assistant: Hi.<|eot_id|>User: Why?<|eot_id|>Assistant: ",
        ),
        (
            built_in("llama3"),
            "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>\
             <|start_header_id|>user<|end_header_id|>\n\nHello!<|eot_id|>\
             <|start_header_id|>assistant<|end_header_id|>\n\nHi.<|eot_id|>\
             <|start_header_id|>user<|end_header_id|>\n\nWhy?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        ),
        (
            LLAMA31,
            "<s><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n\
             Today Date: 26 Jul 2024\n\nBe brief.<|eot_id|>\
             <|start_header_id|>user<|end_header_id|>\n\nHello!<|eot_id|>\
             <|start_header_id|>assistant<|end_header_id|>\n\nHi.<|eot_id|>\
             <|start_header_id|>user<|end_header_id|>\n\nWhy?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        ),
        (
            built_in("chatml"),
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hello! <|im_end|>\n\
             <|im_start|>assistant\nHi.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n",
        ),
        (built_in("plain"), "<s>Be brief.\n\nUser: Hello!\nAssistant: Hi.\nUser: Why?\nAssistant:"),
        (built_in("turns"), "<s>Be brief.\n\nUser: Hello!\nAssistant: Hi.</s>\nUser: Why?\nAssistant:"),
    ];
    for (source, text) in cases {
        let template = ChatTemplate::new(source, "<s>", "</s>").unwrap();
        assert_eq!(template.render(&conversation(), true).unwrap(), text);
        let closed = template.render(&conversation(), false).unwrap();
        assert!(text.starts_with(&closed) && closed.len() < text.len(), "{closed}");
    }
    for source in [SMOLLM2, QWEN3] {
        let template = ChatTemplate::new(source, "", "").unwrap();
        let (_, chatml) = cases[3];
        assert_eq!(template.render(&conversation(), true).unwrap(), chatml);
    }
    let template = ChatTemplate::new(SMOLLM2, "", "").unwrap();
    let text = template.render(&conversation()[1..], true).unwrap();
    assert!(text.starts_with("<|im_start|>system\nYou are a helpful AI assistant named SmolLM"), "{text}");
    let template = ChatTemplate::new(QWEN3, "", "").unwrap();
    let thought = [message("user", "x"), message("assistant", "<think>hm</think>\n\ny")];
    assert!(template.render(&thought, false).unwrap().ends_with("<|im_start|>assistant\ny<|im_end|>\n"));
}

#[test]
fn a_template_may_refuse_a_conversation() {
    let template = ChatTemplate::new(MISTRAL, "<s>", "</s>").unwrap();
    let sentence = template.render(&conversation(), true).unwrap_err().to_string();
    assert!(sentence.contains("roles must alternate"), "{sentence}");
    let text = template.render(&conversation()[1..], true).unwrap();
    assert_eq!(text, "<s>[INST]  Hello!  [/INST]Hi.</s>[INST] Why? [/INST]");
}

#[test]
fn json_is_python_s() {
    let source = "{{ messages[0] | tojson }} {{ [1, 'ü<', none] | tojson(ensure_ascii=False) }}\n{{ [1] | tojson(indent=2) }}";
    let template = ChatTemplate::new(source, "", "").unwrap();
    let text = template.render(&[message("user", "a\"b")], true).unwrap();
    assert_eq!(text, "{\"role\": \"user\", \"content\": \"a\\\"b\"} [1, \"ü<\", null]\n[\n  1\n]");
}

#[test]
fn lists_are_joined_as_jinja_joins_them() {
    for (source, text) in [
        ("{{ [{'a': {'b': 1}}, {'a': {'b': 'x'}}, {}] | join(', ', attribute='a.b') }}", "1, x, "),
        ("{{ [1, 'x', 2.5] | join(d='-') }}", "1-x-2.5"),
        ("{{ [1, 'x'] | join }}{{ 'abc' | join('.') }}{{ [] | join(',') }}", "1xa.b.c"),
        ("{{ ', '.join(['x', 1]) }}{{ [1, 2] | string | length }}{{ 7 | string }}", "x, 167"),
    ] {
        let template = ChatTemplate::new(source, "", "").unwrap();
        assert_eq!(template.render(&conversation(), false).unwrap(), text, "{source}");
    }
    let unknown = ChatTemplate::new("{{ [1] | join(by='-') }}", "", "").unwrap();
    assert!(unknown.render(&conversation(), false).unwrap_err().to_string().contains("'by'"));
}

#[test]
fn hostile_templates_end_soon_with_a_sentence() {
    let rendered =
        |source: &str| ChatTemplate::new(source, "", "").and_then(|t| t.render(&conversation(), true));
    let nested = format!("{}{}", "{% if true %}".repeat(5000), "{% endif %}".repeat(5000));
    let brackets = format!("{{{{ {}1{} }}}}", "[".repeat(100_000), "]".repeat(100_000));
    let long = " ".repeat((1 << 20) + 1);
    for source in [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}x{% endfor %}{% endfor %}{% endfor %}",
        "{% set ns = namespace(x='xx') %}{% for a in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
        "{{ 'x' * 99999999999 }}",
        "{{ ('x' * 1000000) * 1000000 }}",
        "{{ 'x'.replace('', 'y' * 9999999).replace('', 'z' * 9999999) }}",
        "{{ 'xxxxxxxx'.replace('x', 'y' * 99999).replace('y', 'z' * 99999) }}",
        "{{ ('x' * 1000000) | replace('', 'y' * 1000000) }}",
        "{{ ('x' * 1000000).split('') }}",
        "{{ ('x' * 1000000).join([1] * 99999) }}",
        "{{ ''.join(['x' * 1000000] * 99999) }}",
        "{{ ([['x' * 1000000] * 99999] * 99999) | tojson }}",
        "{{ ([['x' * 1000000] * 99999] * 99999) | tojson(indent=4) }}",
        "{{ ['x' * 1000000] * 100000 }}",
        "{{ (['x' * 1000000] * 100000) | string }}",
        "{{ ''.join([['x' * 1000000] * 100000]) }}",
        "{{ [['x' * 1000000] * 100000] | join }}",
        "{{ [1, 2] | join(d=['x' * 1000000] * 100000) }}",
        "{{ [{'a': {'b': ['x' * 1000000] * 100000}}] | join(attribute='a.b') }}",
        "{{ raise_exception(['x' * 1000000] * 100000) }}",
        "{{ ('x\\n' * 10000) | indent(99999999) }}",
        "{{ range(9999999999) | list }}",
        "{{ ('%9999999999d' | format(1)) }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% macro m(n) %}{{ m(n) }}{{ m(n) }}{% endmacro %}{{ m(1) }}",
        "{% include 'template' %}",
        "{% extends '/etc/passwd' %}",
        "{{ messages.nothing.of.it }}",
        "{{ [1] | tojson(indent=99999999999999999999) }}",
        "{{ raise_exception() }}",
        "{% if %}",
        "{%}",
        "{{",
        "\u{0}{% \u{0} %}",
        &nested,
        &brackets,
        &long,
    ] {
        let start = std::time::Instant::now();
        let outcome = rendered(source);
        let shown: String = source.chars().take(60).collect();
        if let Err(error) = &outcome {
            let sentence = error.to_string();
            assert!(sentence.len() < 500 && !sentence.contains('\n'), "{shown}: {sentence}");
        } else {
            assert!(shown.starts_with("{% if true"), "{shown} went well");
        }
        assert!(start.elapsed().as_secs() < 5, "{shown} took {:?}", start.elapsed());
    }
}
