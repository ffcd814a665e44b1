# A fast zap of a tree with several tables at each level, while a vCPU faults its way into the new one and the scheduler is
# impatient.
vm vcpus=2 entries=4 code=0
mem m size=128K populate=1
slot 1 gfn=48 npages=32 mem=m
touch vcpu=0 gfn=61 n=5 op=w
touch vcpu=0 gfn=48 op=w
touch vcpu=0 gfn=72 op=w
touch vcpu=1 gfn=64 op=r
phase race
thread vcpu1
touch vcpu=1 gfn=65 op=w
thread ioctl
resched every=1
zapall
