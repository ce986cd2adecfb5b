/** A real Linux under QEMU, read through QMP. */
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { runCommand } from '../../src/cli/commands.suite.ts'
import { doctorCommand } from '../../src/cli/doctor.ts'
import { findCommand } from '../../src/cli/find.ts'
import { gatherCommand } from '../../src/cli/gather.ts'
import { openInput } from '../../src/cli/input.ts'
import { showCommand } from '../../src/cli/show.ts'
import { verifyCommand } from '../../src/cli/verify.ts'
import { walkCommand } from '../../src/cli/walk.ts'
import { CannotRun, Guest, type GuestFiles, prepare } from './linux.ts'

let files: GuestFiles | null = null
try {
  files = prepare()
} catch (error) {
  if (!(error instanceof CannotRun)) throw error
  console.warn(`the end-to-end test is skipped: ${error.message}`)
}

describe.skipIf(files === null)('a Linux guest with an Intel IOMMU', () => {
  const guest = new Guest()
  beforeAll(() => guest.boot(files!), 300_000)
  afterAll(() => guest.stop())

  it('shows its real devices and what Linux mapped for them', async () => {
    const { stdout, exitCode } = await runCommand(showCommand(), [guest.socket])
    expect(exitCode).toBe(0)
    for (const name of ['0000:00:02.0', '0000:00:07.0', '0000:00:1f.2']) expect(stdout).toContain(name)
    const machine = await openInput(guest.socket)
    const graph = machine.graph()
    expect(graph).toMatchObject({ iommu: 'Intel VT-d', enabled: true })
    const nvme = graph.devices.find(({ name }) => name === '0000:00:02.0')!
    expect(nvme).toMatchObject({ state: 'tables', detail: expect.stringContaining('1b36:0010') })
    // The driver's queues are mapped, at least.
    expect(graph.spaces.find(({ id }) => id === nvme.space)!.leafCount).toBeGreaterThan(4)
    expect(graph.findings.filter(({ severity }) => severity === 'error')).toEqual([])
  })

  it('has the capabilities that its kernel printed', async () => {
    const [, cap = '', ecap = ''] = /reg_base_addr fed90000 ver \S+ cap ([0-9a-f]+) ecap ([0-9a-f]+)/.exec(guest.log())!
    const registers = new Map((await openInput(guest.socket)).graph().registers.map(({ name, value }) => [name, value]))
    expect(registers.get('CAP')).toBe(BigInt(`0x${cap}`))
    expect(registers.get('ECAP')).toBe(BigInt(`0x${ecap}`))
  })

  it('walks to the page that a device reaches, and back', async () => {
    const machine = await openInput(guest.socket)
    const graph = machine.graph()
    const nvme = graph.devices.find(({ name }) => name === '0000:00:02.0')!
    const [range] = graph.spaces.find(({ id }) => id === nvme.space)!.ranges
    const address = `0x${range!.start.toString(16)}`
    const walked = await runCommand(walkCommand(), [guest.socket, '00:02.0', address])
    expect(walked.stdout).toContain(`goes to 0x${range!.output.toString(16)}`)
    const found = await runCommand(findCommand(), [guest.socket, `0x${range!.output.toString(16)}`])
    expect(found.stdout).toContain(`0000:00:02.0`)
    expect(found.stdout).toContain(address)
  })

  it('is gathered into a capture that verify accepts and that looks the same', async () => {
    const folder = join(guest.folder, 'report')
    expect(await runCommand(gatherCommand(), [guest.socket, '-o', folder])).toMatchObject({ exitCode: 0 })
    const verified = await runCommand(verifyCommand(), [folder])
    expect(verified.stdout).toMatch(/tables +\d+ passed +0 failed/)
    expect(verified.stdout).toMatch(/expected +\d+ passed +0 failed/)
    expect(verified.exitCode).toBe(0)
    const names = (await openInput(folder)).graph().devices.map(({ name, state }) => `${name} ${state}`)
    expect(names).toEqual((await openInput(guest.socket)).graph().devices.map(({ name, state }) => `${name} ${state}`))
    expect(await runCommand(gatherCommand(), [guest.socket, '-o', folder])).toMatchObject({
      exitCode: 2,
      stderr: expect.stringContaining('exists already'),
    })
  })

  it('tells its registers to those who have its memory alone', async () => {
    const image = `raw:0:${join(guest.folder, 'ram')}`
    const live = await openInput(guest.socket)
    const registers = (machine: typeof live) =>
      ['CAP', 'ECAP', 'GSTS', 'RTADDR', 'IRTA'].map((name) => machine.graph().registers.find((one) => one.name === name)?.value)
    const asked = await openInput(image)
    expect(registers(asked)).toEqual(registers(live))
    expect(asked.remarks.map(({ text }) => text).join()).toMatch(
      /dmar0 of Linux \d+\.\d+.*, out of the kernel's structures in the dump: /,
    )
    // Without the kernel's word, a search comes to the same table.
    const searched = await openInput(image, { scan: 1 })
    expect(searched.graph().deviceTable).toEqual(live.graph().deviceTable)
    expect(searched.graph().findings[0]!.text).toMatch(/nothing contradicts\): likely/)
  })

  it('says why shared virtual addressing is off', async () => {
    const { stdout, exitCode } = await runCommand(doctorCommand(), [guest.socket, '--all'])
    expect(exitCode).toBe(1)
    expect(stdout).toMatch(/FAIL {4}it takes requests with PASID/)
  })
})
