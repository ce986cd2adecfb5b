/** Running guests of QEMU. */
export { Qmp, type QmpOptions, QmpRefusal } from './client.ts'
export { type GuestOptions, type GuestView, LiveGuest } from './guest.ts'
