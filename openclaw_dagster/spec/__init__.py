"""Text in, System out: the `.claw` language.

`reader`, `complaints` bytes to nodes with positions · `units` quantities, places, names ·
`expressions`, `tree` CEL ·
`coverage` gaps and overlaps of tables · `model` the layers as frozen data · `build` nodes to models ·
`layers`, `tables` what a file says · `checks` the rules across layers · `order` the way of a case ·
`load` path to System · `digest` what a system means, as a number · `fleet` the rules across files ·
`contracts`, `environment`, `surroundings` what lies beside a system · `folder` the files it may read ·
`draft` a system while it is checked · `codes`, `diagnostics` what is wrong and how it is said ·
`schema` JSON Schema for editors.
"""
