"""A table of wrong configurations and, to the letter, what is said about each."""

BASE = """\
sources:
  room: {type: microphone}
events:
  dog: a dog barking
"""
ENVIRON = {"PORT": "18x83", "DIGITS": "0123", "MQTT_SECRET": "hunter2", "EMPTY": "", "PIN_SECRET": "1e4"}

# Added to BASE, so that the text begins on line 5, inside `events`.
VALUES = [
    # Numbers and their bounds
    (
        "  cat: {prompts: meow, on_threshold: 1.4}",
        "5: events.cat.on_threshold: 1.4 is not between 0 and 1",
    ),
    (
        "  cat:\n    prompts: meow\n    off_threshold: -0.1",
        "7: events.cat.off_threshold: -0.1 is not between 0 and 1",
    ),
    (
        "  cat: {prompts: meow, off_threshold: 0.8}",
        "5: events.cat.off_threshold: 0.8 is above on_threshold (0.5); lower it",
    ),
    (
        "  cat: {prompts: meow, on_threshold: 60%}",
        "5: events.cat.on_threshold: '60%' is not a number; write 0.6",
    ),
    (
        '  cat: {prompts: meow, on_threshold: "0.6"}',
        "5: events.cat.on_threshold: '0.6' is not a number; write it without quotes",
    ),
    ("  cat: {prompts: meow, on_threshold: yes}", "5: events.cat.on_threshold: yes is not a number"),
    (
        "  cat: {prompts: meow, min_on_seconds: 500 ms}",
        "5: events.cat.min_on_seconds: '500 ms' is not a number; write seconds without a unit: 0.5",
    ),
    (
        "  cat: {prompts: meow, min_off_seconds: 100000}",
        "5: events.cat.min_off_seconds: 100000 is not between 0 and 86400",
    ),
    (
        "  cat: {prompts: meow, max_duration_seconds: 1:30}",
        "5: events.cat.max_duration_seconds: '1:30' is not a number",
    ),
    (
        "  cat: {prompts: meow, min_level_dbfs: 60}",
        "5: events.cat.min_level_dbfs: 60 is not between -120 and 0",
    ),
    (
        "windows: {hop_seconds: .nan}",
        "5: windows.hop_seconds: .nan is not a finite number",
    ),
    (
        "windows: {window_seconds: -.inf}",
        "5: windows.window_seconds: -.inf is not a finite number",
    ),
    (
        "windows: {window_seconds: 30}",
        "5: windows.window_seconds: 30 is not between 0.5 and 10",
    ),
    (
        "windows:\n  hop_seconds: 3",
        "6: windows.hop_seconds: 3 is longer than window_seconds (2): sounds would be missed; lower it",
    ),
    ("encoder: {threads: 0}", "5: encoder.threads: 0 is not between 1 and 256"),
    ("encoder: {threads: 2.0}", "5: encoder.threads: 2.0 is not a whole number; write 2"),
    ("http: {port: 0x1F}", "5: http.port: '0x1F' is not a whole number"),
    ("http: {port: 65536}", "5: http.port: 65536 is not between 0 and 65535"),
    ("http: {port: 0123}", "5: http.port: '0123' is not a whole number"),
    (f"http: {{port: {'9' * 5000}}}", f"5: http.port: {'9' * 57}... is not a whole number"),
    ("outbox: {max_events: 1e5}", "5: outbox.max_events: 1e5 is not a whole number; write 100000"),
    ("http:\n  port: ${PIN_SECRET}", "6: http.port: *** (from ${PIN_SECRET}) is not a whole number"),
    # Units
    (
        "clips: {directory: c, max_bytes: 1GB}",
        "5: clips.max_bytes: '1GB' is not a whole number; write bytes without a unit: 1000000000",
    ),
    (
        "clips: {directory: c, max_bytes: 1.5 GiB}",
        "5: clips.max_bytes: '1.5 GiB' is not a whole number; write bytes without a unit: 1610612736",
    ),
    (
        "clips: {directory: c, max_bytes: 500 M}",
        "5: clips.max_bytes: '500 M' is not a whole number; write bytes without a unit: 500000000",
    ),
    (
        "clips: {directory: c, max_bytes: 2 reels}",
        "5: clips.max_bytes: '2 reels' is not a whole number; write it without the unit: 2",
    ),
    (
        "clips: {directory: c, keep_days: 36h}",
        "5: clips.keep_days: '36h' is not a number; write days without a unit: 1.5",
    ),
    (
        "clips: {directory: c, keep_days: 2 weeks}",
        "5: clips.keep_days: '2 weeks' is not a number; write days without a unit: 14",
    ),
    (
        "clips: {directory: c, max_seconds: 5m}",
        "5: clips.max_seconds: '5m' is not a number; write seconds without a unit: 300",
    ),
    (
        "windows: {min_level_dbfs: -60 dB}",
        "5: windows.min_level_dbfs: '-60 dB' is not a number; write it without the unit: -60",
    ),
    # One of several
    (
        "encoder: {device: gpu}",
        "5: encoder.device: 'gpu' is not one of auto, cuda, cpu; did you mean cuda?",
    ),
    (
        "encoder: {device: cuda}",
        "5: encoder.device: 'cuda' isn't for the model compact, which runs on the processor; set auto",
    ),
    (
        "encoder: {model: laion/clap-htsat-unfused, runtime: openvino, device: cuda}",
        "5: encoder.device: 'cuda' isn't for runtime: openvino, which runs on the processor; set auto",
    ),
    (
        "encoder: {dtype: bfloat16}",
        "5: encoder.dtype: 'bfloat16' needs runtime: openvino where the model is compact; set it, or float32",
    ),
    (
        "encoder: {dtype: FP16}",
        "5: encoder.dtype: 'FP16' is not one of float32, float16, bfloat16; did you mean float16?",
    ),
    (
        "encoder: {dtype: bf16}",
        "5: encoder.dtype: 'bf16' is not one of float32, float16, bfloat16; did you mean bfloat16?",
    ),
    (
        "encoder: {dtype: half}",
        "5: encoder.dtype: 'half' is not one of float32, float16, bfloat16; did you mean float16?",
    ),
    (
        "encoder: {dtype: float8}",
        "5: encoder.dtype: 'float8' is not one of float32, float16, bfloat16; did you mean float32?",
    ),
    ("log: {level: loud}", "5: log.level: 'loud' is not one of debug, info, warning, error"),
    ("log: {format: [json]}", "5: log.format: a list is not one of text, json"),
    (
        "scoring: exclusiv",
        "5: scoring: 'exclusiv' is not one of independent, exclusive; did you mean exclusive?",
    ),
    (
        "  cat: {prompts: meow, device_class: smok}",
        "5: events.cat.device_class: 'smok' is not known here; did you mean smoke?",
    ),
    (
        "smoothing: {method: medium}",
        "5: smoothing.method: 'medium' is not one of ema, median, none; did you mean median?",
    ),
    ("mqtt: {version: 4}", "5: mqtt.version: 4 is not one of 3.1.1, 5"),
    # Kinds
    ("http: {enabled: maybe}", "5: http.enabled: 'maybe' is not true or false"),
    (
        "encoder: compact",
        "5: encoder: is 'compact', not a mapping (key: value); write encoder: {model: compact}",
    ),
    ("encoder: ${MQTT_SECRET}", "5: encoder: is *** (from ${MQTT_SECRET}), not a mapping (key: value)"),
    (
        "encoder: http://me:hunter2@hub",
        "5: encoder: is 'http://***@hub', not a mapping (key: value)",
    ),
    ("mqtt: false", "5: mqtt: is false, not a mapping (key: value); write mqtt: null"),
    ("mqtt: {tls: yes}", "5: mqtt.tls: is yes, not a mapping (key: value); write tls: {}"),
    ("http: off", "5: http: is off, not a mapping (key: value); write http: {enabled: false}"),
    ("history: true", "5: history: is true, not a mapping (key: value); write history: {}"),
    ("history: no", "5: history: is no, not a mapping (key: value); write history: null"),
    ("clips: true", "5: clips: is true, not a mapping (key: value); write clips: {directory: clips}"),
    ("log: true", "5: log: is true, not a mapping (key: value)"),
    (
        "smoothing: none",
        "5: smoothing: is 'none', not a mapping (key: value); write smoothing: {method: none}",
    ),
    (
        "  cat: {level: -30}",
        "5: events.cat.level: is -30, not a mapping (key: value); write level: {above_dbfs: -30}",
    ),
    (
        "  cat: {prompts: meow, schedule: night}",
        "5: events.cat.schedule: is 'night', not a mapping or a list of them; write {from: 22:00, to: 06:00}",
    ),
    (
        "commands: {lamp: {run: lamp --blink}}",
        "5: commands.lamp.run: is 'lamp --blink', not a list; write [lamp, --blink]",
    ),
    (
        "commands: {lamp: {run: sh -c 'exit 1'}}",
        """5: commands.lamp.run: is "sh -c 'exit 1'", not a list; write [sh, -c, exit 1]""",
    ),
    (
        """commands: {lamp: {run: "it's"}}""",
        """5: commands.lamp.run: is "it's", not a list; write [program, argument]""",
    ),
    (
        "commands: {lamp: {run: curl http://me:hunter2@lamp}}",
        "5: commands.lamp.run: is 'curl http://***@lamp', not a list; write [program, argument]",
    ),
    (
        "encoder: null",
        "5: encoder: is null, not a mapping (key: value); remove the line for the default",
    ),
    ("encoder:", "5: encoder: has no value; give it one, or remove the line"),
    ("  cat: 5", "5: events.cat: is 5, not a mapping (key: value)"),
    ("  cat: {prompts: {a: b}}", "5: events.cat.prompts: is a mapping, not text or a list of texts"),
    ("  cat: [meow, [purr]]", "5: events.cat.prompts[1]: is a list, not text"),
    ("mqtt: {client_id: 7}", '5: mqtt.client_id: 7 is a number to YAML; write it in quotes: "7"'),
    ("encoder: {model: on}", '5: encoder.model: on is true to YAML; write it in quotes: "on"'),
    (
        "  cat:\n    - meow\n    - No",
        '7: events.cat.prompts[1]: No is false to YAML; write it in quotes: "No"',
    ),
    # Prompts
    ('  cat: ""', "5: events.cat.prompts: is empty; describe the sound in words"),
    ('  cat: [meow, "  "]', "5: events.cat.prompts[1]: is empty; describe the sound in words"),
    ('  cat: "..."', "5: events.cat.prompts: '...' is empty; describe the sound in words"),
    ("  cat: []", "5: events.cat.prompts: is empty; give at least one"),
    (
        "  cat: {negatives: purr}",
        "5: events.cat: has neither prompts nor examples nor level; add one of them",
    ),
    ("  cat: {examples: []}", "5: events.cat.examples: is empty; give at least one"),
    (
        '  cat: {examples: [a.wav, ""]}',
        "5: events.cat.examples[1]: '' is empty; give a path, or remove the line",
    ),
    ("  cat: {examples: {a: b}}", "5: events.cat.examples: is a mapping, not text or a list of texts"),
    ("  cat: {examples: [7]}", '5: events.cat.examples[0]: 7 is a number to YAML; write it in quotes: "7"'),
    (
        "  cat: {examples: a.wav}\nscoring: exclusive",
        "5: events.cat: has no prompts, which scoring: exclusive compares; add some",
    ),
    (f"  cat: {'meow' * 200}", "5: events.cat.prompts: is longer than 500 characters; shorten it"),
    ("background: []", "5: background: is empty; give at least one"),
    # Names
    (
        "  Dog Bark: a dog",
        "5: events: 'Dog Bark' is not a plain name (a-z, 0-9 and _, at most 64); write dog_bark",
    ),
    (
        "  Türklingel: a door bell",
        "5: events: 'Türklingel' is not a plain name (a-z, 0-9 and _, at most 64); write turklingel",
    ),
    ("  狗: a dog", "5: events: '狗' is not a plain name (a-z, 0-9 and _, at most 64)"),
    ("  on: a click", '5: events: the key on is true to YAML; write it in quotes: "on"'),
    ("  112: a siren", '5: events: the key 112 is a number to YAML; write it in quotes: "112"'),
    (
        "  cat: {prompts: meow, sources: rom}",
        "5: events.cat.sources: 'rom' is not one of the sources (room); did you mean room?",
    ),
    (
        "  cat:\n    prompts: meow\n    sources: [room, kitchen]",
        "7: events.cat.sources[1]: 'kitchen' is not one of the sources (room)",
    ),
    # Keys
    (
        "  cat: {prompts: meow, on_treshold: 0.4}",
        "5: events.cat.on_treshold: is not a known key; did you mean on_threshold?",
    ),
    ("evnts: {}", "5: evnts: is not a known key; did you mean events?"),
    ("hop_seconds: 1", "5: hop_seconds: is not a known key here; it belongs under windows"),
    ("log: {colour: red}", "5: log.colour: is not a known key; known here: format, level"),
    ("  cat: meow\n  cat: purr", "6: events.cat: is given twice (first on line 5); keep one"),
    ("  cat: {<<: {prompts: meow}}", "5: events.cat: merge keys (<<) aren't supported; write the keys out"),
    ("  ? [a, b]\n  : meow", "5: events: a key must be plain text, not a list or mapping"),
    # The broker
    (
        "mqtt: {broker: 'mqtt://me:hunter2@b'}",
        "5: mqtt.broker: 'mqtt://***@b' is not a host name or address; write it alone, without :// and :port",
    ),
    (
        "mqtt: {broker: 'lan:1883'}",
        "5: mqtt.broker: 'lan:1883' is not a host name or address; write it alone, without :// and :port",
    ),
    (
        "mqtt: {prefix: home/#}",
        "5: mqtt.prefix: 'home/#' is not a topic; leave out spaces, #, +, a leading $ and empty levels",
    ),
    (
        "mqtt: {broker: lan, tls: {cert_file: c.pem}}",
        "5: mqtt.tls.cert_file: 'c.pem' needs key_file beside it; give both or neither",
    ),
    (
        "mqtt: {tls: {}}",
        "5: mqtt.tls: goes with a broker of your own, not with the embedded one; remove it",
    ),
    ("mqtt: {broker: lan, password: hunter2}", "5: mqtt.password: *** needs username beside it; add it"),
    ("mqtt: {password: 4711}", "5: mqtt.password: *** is a number to YAML; write it in quotes"),
    ("mqtt: {username: ''}", "5: mqtt.username: is empty; give a value, or remove the line"),
    # Paths
    ("state_directory: ''", "5: state_directory: '' is empty; give a path, or remove the line"),
    (
        "state_directory: ~nobody_here/x",
        "5: state_directory: '~nobody_here/x' names a home folder that doesn't exist; write the whole path",
    ),
    # Variables
    (
        "mqtt:\n  password: ${NO_PW}",
        "6: mqtt.password: the environment variable NO_PW isn't set; set it, or write ${NO_PW:-default}",
    ),
    ("http:\n  port: ${PORT}", "6: http.port: '18x83' (from ${PORT}) is not a whole number"),
    ("http:\n  port: ${MQTT_SECRET}", "6: http.port: *** (from ${MQTT_SECRET}) is not a whole number"),
    ("http:\n  host: ${EMPTY}", "6: http.host: is empty; give a value, or remove the line"),
    (
        "encoder:\n  model: ${1}",
        "6: encoder.model: holds a ${ that isn't ${NAME} or ${NAME:-default}; write $$ for a plain dollar",
    ),
    ("http: {port: ${PORT}}", "5: between { } and [ ] a ${NAME} must be in quotes"),
    # YAML itself
    ("mqtt:\n\tport: 1883", "6: a tab indents this line; use spaces"),
    ("log:\n  level: 'info\nhttp: {}", "6: a quote is opened here and never closed; close it"),
    ("  cat: [meow,\nlog: {}", "5: a list opened with [ here lacks a comma or its ]"),
    ("log: {level: info\nhttp: {}", "5: a mapping opened with { here lacks a comma or its }"),
    ("log: level: info", "5: a second ': ' in one line; quote the value or mend the indentation"),
    ("log\nhttp: {}", "5: a key without ': ' after it; add it, or mend the indentation"),
    ("log:\n    level: info\n  format: text", "7: is indented differently from the lines above it; align it"),
    ("  - a dog", "5: is indented differently from the lines above it; align it"),
    ("  cat: - meow", "5: a list item (-) can't stand here; give it a line of its own"),
    ("---\nlog: {}", "5: a second document begins here (---); keep one"),
    ('  cat: "\\q"', "5: an unknown \\ escape in double quotes; use single quotes"),
    ('  cat: "\\UFFFFFFFF"', "5: isn't valid YAML here; mend the line or the one above"),
    ("  cat: @meow", "5: a value can't begin with this character; write the value in quotes"),
    ("mqtt: {password: *hunter2}", "5: a value that begins with * must be in quotes"),
    ("  cat: &x meow\n  cow: &x moo", "6: a value that begins with & must be in quotes"),
    (
        "mqtt:\n  password: !secret hunter2",
        "6: a value that begins with ! must be in quotes; for secrets use ${NAME} or password_file",
    ),
    ("  cat: {prompts: &a [*a]}", "5: *aliases make this too large; write it out"),
    (f"  cat: {'[' * 100}", "5: is nested more than 12 levels deep; a configuration needs no more"),
    ("  cat: 'me\x07ow'", "5: holds a control character (code 0x07); remove it"),
    ('  cat: "me\\aow"', "5: events.cat: holds a control character; remove it"),
    ('  cat: "me\\ud800ow"', "5: events.cat: holds a control character; remove it"),
]
