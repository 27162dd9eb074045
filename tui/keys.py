"""Every key of the walk screen. The bindings, the footer, the help and the command palette are made from one list."""

from collections.abc import Mapping

from textual.binding import Binding

from core.language import N_


def action(call: str) -> str:
    """The action by which Textual runs a call such as `walking.travel(-1)` of the walk screen's action groups."""
    name, _, arguments = call.removesuffix(")").partition("(")
    return f"do({name!r}, ({arguments}{',' if arguments else ''}))"


def _key(key: str, call: str, name: str, tooltip: str, id: str, *, show: bool = False, display: str = "") -> Binding:
    """A key that acts before the focused panel sees it, so that keys typed ahead act in order.

    `name` stands in the footer where `show` is true; `tooltip` stands in the help and the palette. A person can bind
    another key to `id` in the settings.
    """
    return Binding(
        key, action(call), name, tooltip=tooltip, id=id, show=show, key_display=display or None, priority=True
    )


WALK = [
    _key(
        "escape",
        "walking.stop",
        "stop",
        "End a run or the loading of a model; else back to the chart",
        "walk.stop",
        display="esc",
    ),
    _key("space", "walking.step", "step", "Sample one token", "walk.step", show=True, display="space"),
    _key("g", "walking.generate", "run", "Generate, or pause", "walk.generate", show=True),
    _key("up,k", "lens.move(-1)", "pick", "Move to a likelier candidate", "walk.pick_up", show=True, display="↑↓"),
    _key("down,j", "lens.move(1)", "pick down", "Move to a less likely candidate", "walk.pick_down"),
    _key("enter", "lens.choose", "take", "Take the candidate under the cursor", "walk.take", show=True, display="⏎"),
    *(
        _key(str(n), f"lens.choose({n})", f"take {n}", f"Take candidate {n}", f"walk.take_{n}", display="1–9")
        for n in range(1, 10)
    ),
    _key(
        "left,h",
        "walking.travel(-1)",
        "go",
        "Look at the previous token; the walk keeps all of them",
        "walk.left",
        show=True,
        display="←→",
    ),
    _key("right,l", "walking.travel(1)", "travel on", "Look at the next token", "walk.right"),
    _key("home", "walking.travel_home", "first", "Look at the first token", "walk.home"),
    _key("end", "walking.travel_end", "last", "Look at the last token", "walk.end"),
    _key(
        "u",
        "walking.take_back",
        "back",
        "Take back the last step, choice, draw, visit or deletion; what is removed stays as a branch",
        "walk.take_back",
        show=True,
    ),
    _key("ctrl+r", "walking.redo", "redo", "Redo what was taken back", "walk.redo", display="^r"),
    _key("r", "walking.redraw", "redraw", "Sample the last token again from the same distribution", "walk.redraw"),
    _key("n", "lens.continuations", "continuations", "Sample several continuations", "walk.continuations"),
    _key("slash", "walking.run_until", "run until", "Generate until a condition holds", "walk.until", display="/"),
    _key("full_stop", "lens.next(1)", "lens", "Show the next lens", "lens.next", show=True, display="."),
    _key("comma", "lens.next(-1)", "previous lens", "Show the previous lens", "lens.previous", display=","),
    _key("I", "overlays.lens_index", "index", "Show the index of lenses", "lens.index"),
    _key("b", "lens.look('branches')", "branches", "Show the branches of the walk", "lens.branches"),
    _key("S", "walking.search", "search", "Search: beam search, or the likeliest answers with a proof", "walk.search"),
    _key("D", "walking.draft", "draft", "Generate with a draft model's proposals", "walk.draft"),
    _key("c", "overlays.compare", "compare", "Compare two models, dtypes, samplers or prompts", "choose.compare"),
    _key("v", "lens.look('guess')", "guess", "Guess the next token before it is shown", "lens.guess"),
    _key("t", "overlays.train", "train", "Train a rung and watch its losses", "choose.train"),
    _key("T", "overlays.open_text", "text", "Open a text file and score it", "walk.text"),
    _key(
        "o",
        "lens.switch_view",
        "other view",
        "Show the other view of the lens; of the chart, logarithmic bars",
        "lens.turn",
    ),
    _key(
        "shift+up",
        "lens.adjust(-1, 0)",
        "up",
        "Previous layer, or previous value of the lens",
        "lens.up",
        display="⇧↑↓",
    ),
    _key("shift+down", "lens.adjust(1, 0)", "down", "Next layer, or next value of the lens", "lens.down"),
    _key(
        "shift+left",
        "lens.adjust(0, -1)",
        "left",
        "Previous head, or lower value of the lens",
        "lens.left",
        display="⇧←→",
    ),
    _key("shift+right", "lens.adjust(0, 1)", "right", "Next head, or higher value of the lens", "lens.right"),
    _key(
        "x",
        "overlays.experiments",
        "experiments",
        "Patch parts of the model, or try every part in turn",
        "lens.experiments",
    ),
    _key("V", "overlays.steering", "steering", "Steer the model by vectors made of prompts", "lens.steering"),
    _key("e", "asking.target", "why this", "Why this token; again: its logit alone", "question.target"),
    _key("E", "asking.against", "not this", "Ask why not this candidate", "question.against"),
    _key("z", "asking.corrupt", "corrupt prompt", "Write the prompt to compare with", "question.corrupt"),
    _key("W", "lens.notebook", "notebook", "Show the Python of the lens; write JSON, CSV or SVG", "lens.notebook"),
    _key(
        "left_square_bracket",
        "sampling.temperature(-1)",
        "cooler",
        "Lower the temperature",
        "knob.t_down",
        display="[",
    ),
    _key(
        "right_square_bracket",
        "sampling.temperature(1)",
        "hotter",
        "Raise the temperature",
        "knob.t_up",
        display="]",
    ),
    _key("less_than_sign", "sampling.top_k(-1)", "fewer", "Lower top-k", "knob.k_down", display="<"),
    _key("greater_than_sign", "sampling.top_k(1)", "more", "Raise top-k", "knob.k_up", display=">"),
    _key("left_curly_bracket", "sampling.top_p(-1)", "narrower", "Lower top-p", "knob.p_down", display="{"),
    _key("right_curly_bracket", "sampling.top_p(1)", "wider", "Raise top-p", "knob.p_up", display="}"),
    _key("left_parenthesis", "sampling.min_p(-1)", "wider", "Lower min-p", "knob.m_down", display="("),
    _key("right_parenthesis", "sampling.min_p(1)", "narrower", "Raise min-p", "knob.m_up", display=")"),
    _key("P", "sampling.preset", "presets", "Choose a sampler by name: greedy, llama.cpp, creative …", "choose.preset"),
    _key("F", "sampling.side_by_side", "five samplers", "Compare five samplers side by side", "choose.samplers"),
    _key(
        "G",
        "sampling.constraint",
        "constraint",
        "Hold the text to a regex, choices, a schema or a grammar",
        "walk.grammar",
    ),
    _key("A", "choosing.adapter", "adapter", "Turn the LoRA adapter of the model on or off", "choose.adapter"),
    _key(
        "minus", "choosing.adapter_scale(-1)", "less", "Lower the scale of the LoRA adapter", "knob.a_down", display="-"
    ),
    _key(
        "equals_sign,plus",
        "choosing.adapter_scale(1)",
        "more",
        "Raise the scale of the LoRA adapter",
        "knob.a_up",
        display="=",
    ),
    _key("i", "writing.write", "write", "Write the prompt", "walk.write", show=True),
    _key("C", "writing.switch_chat", "chat", "Put the prompt into the chat template, or take it out", "walk.chat"),
    _key("M", "writing.system", "system", "Write a system message before the conversation", "walk.system"),
    _key("m", "choosing.model", "model", "Choose a model", "choose.model"),
    _key(
        "K",
        "overlays.model_details",
        "model details",
        "Show what the model is: sizes, formats, files, tokenizer",
        "choose.details",
    ),
    _key("a", "choosing.twin", "twin", "Load the trained version of this rung, or the untrained one", "choose.twin"),
    _key(
        "p",
        "choosing.hyperparameters",
        "sizes",
        "Change the sizes of a rung (its hyperparameters)",
        "choose.hyperparameters",
    ),
    _key("d", "choosing.device", "device", "Choose a device and a dtype", "choose.device"),
    _key("s", "sampling.seed", "seed", "Choose the seed of the sampler", "choose.seed"),
    _key("w", "sessions.save", "save", "Save, export or copy the walk", "session.save"),
    _key("ctrl+o", "sessions.open", "open", "Open a saved session", "session.open", display="^o"),
    _key("y", "sessions.copy", "copy", "Copy the generated text", "session.copy"),
    _key("L", "course.toggle", "course", "Open the course, or come back from it to your walk", "course.open"),
    _key("O", "course.onward", "onward", "Show the next step of the lesson", "course.onward"),
    _key("B", "course.back", "back", "Show the step of the lesson before", "course.back"),
    _key("R", "course.hint", "hint", "Show a hint of the task, at last its solution", "course.hint"),
    _key("Y", "course.code", "code", "Copy the code of the lesson, or write it as a notebook", "course.code"),
    _key("pagedown", "course.page(1)", "more", "Show more of the lesson, then its next step", "course.more"),
    _key("pageup", "course.page(-1)", "less", "Show what stands before in the lesson", "course.less"),
    _key("question_mark", "overlays.help", "help", "Show every key", "app.help", show=True, display="?"),
    _key("q", "overlays.quit", "quit", "Quit; tokenwalk --resume continues your walk", "app.quit"),
]

FOLLOW = [
    _key("X", "looking.follow", "follow", "Show what the teacher sees again", "follow.again", show=True),
    *(
        binding
        for binding in WALK
        if binding.id
        in (
            "walk.pick_up",
            "walk.pick_down",
            "walk.left",
            "walk.right",
            "walk.home",
            "walk.end",
            "lens.next",
            "lens.previous",
            "lens.index",
            "lens.branches",
            "lens.turn",
            "lens.up",
            "lens.down",
            "lens.left",
            "lens.right",
        )
    ),
    _key("Y", "looking.load_model", "model here", "Load the model here, to look around", "follow.model", show=True),
    *(binding for binding in WALK if binding.id in ("session.copy", "app.help", "app.quit")),
]
"""The keys of somebody who follows a walk: those that change nothing."""

FOOTER = (
    "follow.again",
    "follow.model",
    "walk.step",
    "walk.generate",
    "question.corrupt",
    "walk.pick_up",
    "walk.take",
    "lens.turn",
    "lens.next",
    "lens.up",
    "lens.left",
    "",  # those of the focused panel
    "walk.left",
    "walk.take_back",
    "walk.write",
    "lens.index",
    "choose.model",
    "app.quit",
    "app.help",
)
"""The ids of the keys in the footer, the most useful first; the last one always has room."""
LENS_FOOTER = tuple(
    id for each in FOOTER if each != "lens.index" for id in ((each, "lens.index") if each == "lens.left" else (each,))
)
"""The same in a lens, where the index of lenses comes before what the focused panel adds."""

LEAVE = Binding(
    "enter,escape",
    "leave",
    "walk",
    tooltip="Leave the prompt; single keys act again",
    id="prompt.leave",
    show=True,
    key_display="⏎ esc",
    priority=True,
)
NEWLINE = Binding(
    "ctrl+j,alt+enter,shift+enter",
    "newline",
    "new line",
    tooltip="Begin a new line in the prompt",
    id="prompt.newline",
    show=True,
    key_display="^j",
    priority=True,
)

LABELS = {
    "up": "↑",
    "down": "↓",
    "left": "←",
    "right": "→",
    "enter": "⏎",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "minus": "-",
    "equals_sign": "=",
    "plus": "+",
    "less_than_sign": "<",
    "greater_than_sign": ">",
    "left_curly_bracket": "{",
    "right_curly_bracket": "}",
    "question_mark": "?",
    "full_stop": ".",
    "slash": "/",
    "left_parenthesis": "(",
    "right_parenthesis": ")",
    "comma": ",",
    "shift+up": "⇧↑",
    "shift+down": "⇧↓",
    "shift+left": "⇧←",
    "shift+right": "⇧→",
    "pagedown": "PgDn",
    "pageup": "PgUp",
    "ctrl+left": "^←",
    "ctrl+right": "^→",
}


def key_name(key: str) -> str:
    """The label of a key, such as `⏎` for `enter`."""
    return LABELS.get(key, key.replace("ctrl+", "^"))


def key_names(binding: Binding, remapped: Mapping[str, str]) -> str:
    """The labels of the keys of an action; `remapped` holds a person's own keys, by action id."""
    own = remapped.get(binding.id or "")
    if binding.key_display and not own:
        return binding.key_display
    return " ".join(map(key_name, (own or binding.key).split(",")))


GROUPS = {
    N_("Walk"): (
        "walk.step",
        "walk.generate",
        "walk.stop",
        "walk.take_back",
        "walk.redo",
        "walk.redraw",
        "walk.continuations",
        "walk.until",
        "walk.search",
        "walk.draft",
    ),
    N_("Pick"): ("walk.pick_up", "walk.pick_down", "walk.take", "walk.take_1"),
    N_("Travel"): ("walk.left", "walk.right", "walk.home", "walk.end"),
    N_("Sampler"): (
        "knob.t_down",
        "knob.t_up",
        "knob.k_down",
        "knob.k_up",
        "knob.p_down",
        "knob.p_up",
        "knob.m_down",
        "knob.m_up",
        "choose.seed",
        "choose.preset",
        "choose.samplers",
        "walk.grammar",
    ),
    N_("Lenses"): (
        "lens.next",
        "lens.previous",
        "lens.index",
        "lens.branches",
        "lens.guess",
        "lens.turn",
        "lens.up",
        "lens.down",
        "lens.left",
        "lens.right",
        "lens.experiments",
        "lens.steering",
    ),
    N_("Ask why"): ("question.target", "question.against", "question.corrupt", "lens.notebook"),
    N_("Choose"): (
        "choose.model",
        "choose.details",
        "choose.twin",
        "choose.hyperparameters",
        "choose.device",
        "choose.adapter",
        "knob.a_down",
        "knob.a_up",
        "choose.compare",
        "choose.train",
    ),
    N_("Course"): (
        "course.open",
        "course.onward",
        "course.back",
        "course.hint",
        "course.code",
        "course.more",
        "course.less",
    ),
    N_("Sessions"): ("session.save", "session.open", "session.copy"),
    N_("Follow"): ("follow.again", "follow.model"),
    N_("App"): ("walk.write", "walk.chat", "walk.system", "walk.text", "app.help", "app.quit"),
}
"""The sections of the help, and the ids of their keys in order."""
