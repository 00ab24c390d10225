"""Colours that tell apart on white and on dark paper, and to colour-blind eyes.

Those of the elements are Okabe and Ito's (https://jfly.uni-koeln.de/color/), the blue lighter.
"""

#: real branches
REAL = '#2f7fc1'
#: imaginary branches, unstable verdicts
IMAGINARY = '#d5432e'
#: total density of states, reference lines
NEUTRAL = '#858c96'
#: the same, as the filling under the total density of states
NEUTRAL_FILL = 'rgba(133,140,150,0.28)'
IMAGINARY_FILL = 'rgba(213,67,46,0.30)'
#: stable verdicts
STABLE = '#1f9a6d'
#: elements, in their order in the crystal; more than these begin again
ELEMENTS = ('#1f86cc', '#e69f00', '#009e73', '#cc79a7', '#56b4e9', '#d55e00')
