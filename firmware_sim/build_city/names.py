"""Names for streets that nobody named."""

from __future__ import annotations

import random

FIRST = (
    "Alder Anchor Ash Baker Barley Beacon Birch Brewer Bridle Canal Candle Cedar Chandler Chapel Cherry Clover Cod Cooper Copper Coral "
    "Cormorant Cygnet Dolphin Drift Dyer Eel Elder Ember Falcon Fern Finch Flint Foundry Fuller Gannet Garnet Glass Granary Harp Hawthorn "
    "Hazel Heather Heron Herring Holly Hopper Ivy Juniper Kestrel Lantern Larch Lark Lilac Linden Linnet Mackerel Magpie Maple Mariner "
    "Marsh Mason Mast Merchant Mint Moss Mussel Nettle Oak Orchard Osprey Otter Oyster Paddle Parsley Pear Pebble Pilot Pine Plover "
    "Poplar Potter Prior Puffin Quarry Quill Raven Reed Robin Rope Rosemary Rowan Rudder Rush Saddler Sage Sail Salt Sandpiper Schooner "
    "Seal Shell Shepherd Signal Silver Skipper Smith Sorrel Sparrow Spinner Starling Stone Stork Swallow Tanner Teal Tern Thistle "
    "Thorn Thyme Tide Tiller Tulip Turner Turnstone Vane Walnut Warden Weaver Wharf Wheel Willow Winch Wren Yarrow Yew"
).split()
SECOND = {"tertiary": ("Road", "Street", "Way"), "residential": ("Street", "Lane", "Row", "Close", "Gardens", "Place")}


class Names:
    """Deals names; no street gets one that another has."""

    def __init__(self, dice: random.Random) -> None:
        self.left = {
            kind: [f"{first} {second}" for second in seconds for first in FIRST] for kind, seconds in SECOND.items()
        }
        for names in self.left.values():
            dice.shuffle(names)
        self.used: set[str] = set()

    def street(self, kind: str) -> str:
        while True:
            name = self.left[kind].pop()
            if name not in self.used:
                self.used.add(name)
                return name
