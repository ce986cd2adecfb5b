/** From a scenario to its machine, before the first step. */

import type { DeviceCapabilities } from '../core/driver.ts'
import { mapArea } from './actions.ts'
import { STANDARD } from './architectures.ts'
import type { Place } from './language/problem.ts'
import type { DeviceChoice, Scenario } from './language/scenario.ts'
import { Machine, type MachineEvent } from './machine.ts'

/** Why a scenario's machine cannot be built: the architecture, the OS side or the memory refuses it. */
export interface BuildProblem {
  readonly problem: string
  readonly place: Place
}

/** Where a guest's memory begins, in its own addresses. */
const DEFAULT_GUEST = 0x40000000
const START: Place = { line: 1, column: 1 }

function capabilitiesOf(choice: DeviceChoice): DeviceCapabilities {
  return {
    pasidBits: choice.pasidBits ?? 0,
    ats: choice.ats ?? false,
    pri: choice.pri ?? false,
    stall: choice.stall ?? false,
    plain: choice.plain ?? true,
    responseNeedsPasid: choice.responseNeedsPasid ?? true,
  }
}

/** Builds the machine: memory, processes, devices, groups, domains; devices are attached to their domains. */
export function buildMachine(scenario: Scenario, log?: (event: MachineEvent) => void): Machine | BuildProblem {
  let place = START
  try {
    const machine = newMachine(scenario, log)
    for (const [name, bytes] of scenario.buffers ?? []) machine.addBuffer(name, Number(bytes))
    for (const [name, { areas }] of scenario.processes ?? []) {
      const process = machine.addProcess(name)
      for (const area of areas) {
        place = area.place
        machine.run(mapArea(machine, process, area))
      }
    }
    for (const [name, choice] of scenario.devices ?? []) {
      place = choice.place
      machine.addDevice({
        id: choice.id,
        name,
        capabilities: capabilitiesOf(choice),
        ...(choice.atcEntries === undefined ? {} : { atcEntries: choice.atcEntries }),
        ...(choice.detail === undefined ? {} : { detail: choice.detail }),
      })
    }
    for (const [name, members] of scenario.groups ?? []) {
      const devices = members.map((member) => machine.devices.get(member)!.core)
      machine.iommu.addGroup(name, devices)
    }
    for (const [name, choice] of scenario.domains ?? []) {
      place = choice.place
      const domain = machine.createDomain(name, choice.kind ?? 'dma')
      for (const member of choice.devices ?? []) {
        const { core } = machine.devices.get(member)!
        // A group is attached with its first device.
        if (core.domain !== domain) machine.run(machine.iommu.attach(domain, core))
      }
    }
    for (const [name, choice] of scenario.guests ?? []) {
      place = choice.place
      const domain = machine.domains.get(choice.domain)!
      machine.addGuest(name, { domain, start: choice.address ?? DEFAULT_GUEST, bytes: Number(choice.memory) })
    }
    machine.settle()
    return machine
  } catch (error) {
    // What the OS side, processes or page tables refuse has a code; what a part cannot be built with is a RangeError. Anything else is a
    // defect of ours.
    const refused =
      error instanceof RangeError || (error instanceof Error && typeof (error as { code?: unknown }).code === 'string')
    if (!refused) throw error
    return { problem: error.message, place }
  }
}

function newMachine(scenario: Scenario, log: ((event: MachineEvent) => void) | undefined): Machine {
  const { cpu = {}, memory, iommu } = scenario
  const largestDevice = Math.max(0, ...[...(scenario.devices?.values() ?? [])].map(({ id }) => id))
  return new Machine({
    iommu: iommu?.kind ?? STANDARD,
    iommuOptions: iommu?.options ?? {},
    cpu,
    largestDevice,
    ...(memory?.size === undefined ? {} : { memory: Number(memory.size) }),
    ...(memory?.start === undefined ? {} : { memoryStart: memory.start }),
    ...(scenario.pasids === undefined ? {} : { pasidAllocation: scenario.pasids }),
    ...(log === undefined ? {} : { log }),
  })
}
