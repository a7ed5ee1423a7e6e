"""The words that are single tokens in the tiny model's tokenizer: the world's own and common caption words."""

WORLD_WORDS = """
a an the of on in at with front top bottom left right centre middle picture drawing image shape background
small large medium solid plain striped dotted style
red orange yellow green cyan blue purple pink brown white black grey sky sand
circle square triangle star cross heart diamond ring
""".split()  # noqa: SIM905 - a list literal of 380 quoted words would be harder to read

CAPTION_WORDS = """
and is to by from for over under near behind beside between around inside outside above below into up down side
one two three four five many few some no not very this that it its his her their my your
photo photograph painting sketch art artwork illustration render portrait scene view closeup close wide shot frame
style high low quality detailed simple background foreground light dark bright soft warm cold old new young big
little tiny huge long short tall round flat thin thick clean dirty wet dry open closed empty full
man woman boy girl person people child baby face head hair eye eyes hand hands body smile wearing holding sitting
standing walking running looking playing flying eating sleeping smiling
dog cat bird horse cow sheep fish bear fox rabbit mouse lion tiger elephant frog butterfly bee insect animal toy
tree trees flower flowers leaf grass forest mountain river lake sea ocean beach island desert snow rain cloud
clouds sun moon night day morning evening sunset sunrise winter summer spring autumn fire water earth air stone
house building city town street road bridge car bus train boat ship plane bike window door room wall floor roof
table chair bed lamp book cup bottle glass plate bowl box bag clock phone computer camera shoe shoes shirt dress
hat coat food fruit apple banana bread cake coffee tea
gold silver gray violet magenta lime teal navy beige turquoise metal wood wooden paper leather cloth plastic
line lines dot dots stripe stripes outline outlined edge corner border pattern texture colour color coloured
colored colourful colorful abstract vintage modern retro cartoon anime pixel comic realistic minimal logo icon
emoji sticker pencil ink oil watercolor watercolour digital film cinematic neon glowing shiny
circles squares triangles stars hearts diamonds rings crosses shapes
""".split()  # noqa: SIM905 - a list literal of 380 quoted words would be harder to read
