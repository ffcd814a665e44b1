# The smallest fight between two zaps of one range, with one page to be had.
vm vcpus=1 entries=4 code=0
mem m size=16K populate=1
slot 1 gfn=16 npages=4 mem=m
touch vcpu=0 gfn=16 op=w
phase race
thread one
zaprange gfn=16 n=1
thread two
zaprange gfn=16 n=1
