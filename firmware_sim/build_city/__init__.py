"""Draws Doggerhaven, the city that the package brings along as `firmware_sim/doggerhaven.geojson`.

    python -m firmware_sim.build_city firmware_sim/doggerhaven.geojson

Hand-drawn bones (coast, river, ring, avenues, quays: `bones`), side streets that follow a field of directions (`growth`),
then crossings, classes and names (`weave`). The drawing is committed, not made at run time: growing streets is chaotic,
and the last bit of a cosine, which differs between processors, would move a street.
"""
