# A zap of a range in two roots, of which the one that is zapped first maps it, and the other does not.
vm vcpus=2 entries=4 code=0
mem m size=32K populate=1
slot 1 gfn=16 npages=8 mem=m
role vcpu=1 nested=1
touch vcpu=0 gfn=20 op=w
touch vcpu=1 gfn=16 n=2 op=w
phase race
thread vcpu0
touch vcpu=0 gfn=21 op=w
thread vcpu1
touch vcpu=1 gfn=17 op=w
thread ioctl
resched every=2
zaprange gfn=16 n=4
