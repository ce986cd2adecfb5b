/** A running guest of QEMU as INPUT. */
import type { MachineGraph } from '../inspect/graph.ts'
import { LiveGuest, Qmp } from '../node/qmp/index.ts'
import { type Architecture, architectureOf } from './architectures.ts'
import { note } from './common.ts'
import type { OpenedMachine } from './input.ts'

/** A guest that stays connected, to be read again and again. */
export interface LiveMachine {
  readonly guest: LiveGuest
  readonly architecture: Architecture
  /** Its picture now. */
  read(): Promise<MachineGraph>
}

/** @throws InputError when the socket is not QEMU's, or the guest has no IOMMU that is understood. */
export async function connectLive(socket: string, options: { readonly stop?: boolean } = {}): Promise<LiveMachine> {
  const qmp = await Qmp.connect(socket)
  try {
    const progress = (pages: number) => note(`${pages} pages read through the monitor …`)
    const guest = await LiveGuest.open(qmp, { ...options, progress })
    const architecture = architectureOf(guest.kind, socket)
    const { title, names } = guest
    return { guest, architecture, read: () => guest.settle((view) => architecture.inspect({ title, names, ...view })) }
  } catch (error) {
    qmp.close()
    throw error
  }
}

/** The guest as it is now: what the picture needs is read once, and stays as it was then. */
export async function openLive(socket: string, options: { readonly stop?: boolean }): Promise<OpenedMachine> {
  const { guest, architecture } = await connectLive(socket, options)
  const { title, names } = guest
  try {
    const { view, graph, model } = await guest.settle((seen) => ({
      view: seen,
      graph: architecture.inspect({ title, names, ...seen }),
      model: architecture.restore(seen.memory, seen.register),
    }))
    note(`${title}: memory from ${guest.memoryFrom}`)
    if (guest.cutOff)
      note('Not all of it was read; what is left out looks as if nothing answered there. --stop makes the guest stand still.')
    return {
      title,
      memory: view.memory,
      architecture,
      model,
      devices: names.devices ?? new Map(),
      register: view.register,
      names,
      remarks: [],
      graph: () => graph,
    }
  } finally {
    guest.close()
  }
}
