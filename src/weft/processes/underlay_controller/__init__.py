"""The controller of underlay networks (`weft spiderpool-controller`).

It completes and checks what users write, makes networks of SpiderMultusConfigs and pools of SpiderSubnets, tells
coordinators the cluster's ranges, and takes back addresses of what is gone.
"""
