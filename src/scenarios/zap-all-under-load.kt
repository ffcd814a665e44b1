# A fast zap of a tree with several tables, while a vCPU faults its way into the new one and the scheduler is impatient.
vm vcpus=2 entries=4 code=0
mem m size=128K populate=1
slot 1 gfn=16 npages=32 mem=m
touch vcpu=0 gfn=16 n=5 op=w
touch vcpu=0 gfn=24 op=w
touch vcpu=0 gfn=40 op=w
touch vcpu=1 gfn=16 op=r
phase race
thread vcpu1
touch vcpu=1 gfn=17 op=w
thread ioctl
resched every=2
zapall
