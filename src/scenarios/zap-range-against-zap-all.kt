# A range is zapped while a fast zap takes its time with the old root, and a vCPU faults in the new one.
vm vcpus=1 entries=4 code=0
mem m size=32K populate=1
slot 1 gfn=16 npages=8 mem=m
touch vcpu=0 gfn=16 n=2 op=w
touch vcpu=0 gfn=20 op=w
phase race
thread vcpu0
touch vcpu=0 gfn=17 op=w
thread ioctl
resched every=2
zapall
thread other
zaprange gfn=16 n=6
