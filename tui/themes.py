"""The two themes. Borders are muted, the accent marks what is active, a warm color marks surprisal.

A heat map is orange above zero and blue below it, which people with any kind of color vision tell apart.
"""

from textual.theme import Theme

DARK = Theme(
    name="tokenwalk-dark",
    primary="#4a5a6c",
    secondary="#8aa0b6",
    accent="#7cc4b8",
    warning="#e8a15c",
    error="#e2777a",
    success="#9ccf8a",
    foreground="#d6dce2",
    background="#11151a",
    surface="#161b21",
    panel="#1d242c",
    dark=True,
    variables={
        "footer-background": "#11151a",
        "footer-key-foreground": "#7cc4b8",
        "footer-description-foreground": "#8b98a5",
        "block-cursor-background": "#7cc4b8",
        "block-cursor-foreground": "#11151a",
        "input-selection-background": "#7cc4b8 30%",
        "scrollbar": "#2a343e",
        "scrollbar-background": "#11151a",
        "border-blurred": "#33404d",
        "heat-above": "#e8a15c",
        "heat-below": "#5aa2e6",
    },
)

LIGHT = Theme(
    name="tokenwalk-light",
    primary="#9aa7b4",
    secondary="#556475",
    accent="#16766a",
    warning="#c2601a",
    error="#b3343c",
    success="#3c7a2a",
    foreground="#22292f",
    background="#fbfaf7",
    surface="#f3f1ec",
    panel="#e9e6df",
    dark=False,
    variables={
        "footer-background": "#fbfaf7",
        "footer-key-foreground": "#16766a",
        "footer-description-foreground": "#5d6a76",
        "block-cursor-background": "#16766a",
        "block-cursor-foreground": "#fbfaf7",
        "input-selection-background": "#16766a 25%",
        "scrollbar": "#d6d1c6",
        "scrollbar-background": "#fbfaf7",
        "border-blurred": "#c4c8cc",
        "heat-above": "#c2601a",
        "heat-below": "#1f6fb8",
    },
)

HEAT = {name: color for name, color in DARK.variables.items() if name.startswith("heat-")}
"""The colors of a heat map in a theme that has none."""
