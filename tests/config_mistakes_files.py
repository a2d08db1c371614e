"""A table of wrong files as a whole and, to the letter, what is said about each."""

FILES = [
    ("", "home.yaml: is empty; see config/demo.yaml for a start"),
    ("# nothing yet\n", "home.yaml: is empty; see config/demo.yaml for a start"),
    ("- a\n", "home.yaml:1: a list stands at the top; write keys such as sources: and events:"),
    ("hello\n", "home.yaml:1: a single value stands at the top; write keys such as sources: and events:"),
    (
        "sources: {room: {}}\n",
        "home.yaml:1: events: is missing; add one, as in  events: {dog_bark: a dog barking}",
    ),
    (
        "events: {dog: a dog}\n",
        "home.yaml:1: sources: is missing; add one, as in  sources: {room: {type: microphone}}",
    ),
    ("events: {dog: a dog}\nsources: {}\n", "home.yaml:2: sources: is empty; give at least one"),
    (
        "events: {dog: a dog}\nsources: [room]\n",
        "home.yaml:2: sources: is a list, not a mapping (key: value)",
    ),
    (
        "events: {dog: a dog}\nsources:\n  a: {type: mic}\n",
        (
            "home.yaml:3: sources.a.type: 'mic' is not one of microphone, file, demo, ffmpeg, pcm; "
            "did you mean microphone?"
        ),
    ),
    (
        "events: {dog: a dog}\nsources:\n  a:\n    type: file\n",
        "home.yaml:3: sources.a.path: is missing; add it",
    ),
    (
        "events: {dog: a dog}\nsources:\n  a: {path: x.wav}\n",
        "home.yaml:3: sources.a.path: is not a known key here; it goes with type: file",
    ),
    (
        "events: {dog: a dog}\nsources:\n  a: {type: demo, lop: true}\n",
        "home.yaml:3: sources.a.lop: is not a known key; known here: gain_db, high_pass_hz, seed, type",
    ),
    (
        "sources: {a: {}}\nevents:\n  dog: {level: {above_dbfs: -30}, prompts: a dog}\n",
        "home.yaml:3: events.dog.prompts: 'a dog' can't stand beside level; remove one of them",
    ),
    (
        "sources: {a: {}}\nevents:\n  dog: {level: {above_dbfs: -30}, on_threshold: 0.4}\n",
        "home.yaml:3: events.dog.on_threshold: 0.4 can't stand beside level; remove one of them",
    ),
    (
        "sources: {a: {}}\nevents:\n  dog: {level: {above_dbfs: -30, below_dbfs: -20}}\n",
        "home.yaml:3: events.dog.level.below_dbfs: -20 is above above_dbfs (-30); lower it",
    ),
    (
        "sources: {a: {}}\nevents:\n  dog: {prompts: a dog, schedule: {from: 7am}}\n",
        "home.yaml:3: events.dog.schedule.from: '7am' is not a time of the day; write it as 07:30",
    ),
    (
        "sources: {a: {}}\nevents:\n  dog: {prompts: a dog, schedule: {from: 07:00, to: 07:00}}\n",
        "home.yaml:3: events.dog.schedule.to: '07:00' is the same as from; leave both out for the whole day",
    ),
    (
        "events: {dog: a dog}\nsources:\n  a: {type: pcm}\n",
        "home.yaml:3: sources.a: has none of listen, connect and path; add one, such as  listen: 4010",
    ),
    (
        "events: {dog: a dog}\nsources:\n  a: {type: pcm, listen: 40, path: '-'}\n",
        "home.yaml:3: sources.a.path: '-' can't stand beside listen; keep one",
    ),
    (
        "events: {dog: a dog}\nsources:\n  a: {type: pcm, listen: 40, channel: 2}\n",
        "home.yaml:3: sources.a.channel: 2 is more than channels (1); raise that, or lower this",
    ),
    (
        "events: {dog: a dog}\nsources:\n  a: {type: pcm, path: '-'}\n  b: {type: pcm, path: '-'}\n",
        "home.yaml:4: sources.b.path: '-' is read by a already; use listen: here",
    ),
    (
        "events: {dog: a dog}\nsources:\n  a: {type: pcm, connect: x}\n",
        "home.yaml:3: sources.a.connect: 'x' is not a port or host:port; write it as in  192.168.1.7:4010",
    ),
    (
        f"events: {{dog: a dog}}\nsources:\n  a: {{type: pcm, connect: 'a:{'9' * 5000}'}}\n",
        (
            f"home.yaml:3: sources.a.connect: 'a:{'9' * 55}...' is not a port or host:port; write it as in  "
            "192.168.1.7:4010"
        ),
    ),
    (
        "events: {dog: a dog}\nsources:\n  a: {type: ffmpeg, url: x, options: {flag: x}}\n",
        "home.yaml:3: sources.a.options: 'flag' is no input option that may be given; did you mean flags?",
    ),
    (
        "events: {dog: a dog}\nsources:\n  a: {type: file, path: a.wav, loop: 1}\n",
        "home.yaml:3: sources.a.loop: 1 is not true or false",
    ),
    (
        "events: {dog: a dog}\nsources:\n  a: {type: demo, seed: -1}\n",
        "home.yaml:3: sources.a.seed: -1 is not between 0 and 4294967295",
    ),
    (b"events:\n  caf\xe9: a\n", "home.yaml:2: isn't UTF-8 (byte 0xe9); save it as UTF-8"),
    ("events: {}".encode("utf-16"), "home.yaml: is UTF-16; save it as UTF-8"),
    (b"#" * 1_100_000, "home.yaml: is larger than 1024 KiB; is this a configuration?"),
]
