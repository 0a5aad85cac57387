#!lua flags=allow-oom
-- needs | keys: asks locks limits entered gated rates | edges: none
--
-- What a job asks for beside being run, and how that stands: its lock, its turn, its gates.
-- ARGV: now, id
-- Reply: nothing if it asks for nothing; else its lock, the job that has that ("" for none), the time
--   until which it stays although that job needs it no more ("" for none), flags, the key of its
--   turn; then per gate (at most 10) its name, jobs at once (0: any number), jobs inside, jobs that
--   wait, ms from one to the next (0: at any time), ms until the next may come in

local now, id = clock(ARGV[1]), ARGV[2]
local MOST = 10
local asked = asks_of({ id })
local ask = asked[id]
if not ask then return {} end
local value = ask.lock ~= '' and redis.call('HGET', locks, ask.lock)
local owner = locked_by(value, now) or ''
local stays = owner ~= '' and string.match(value, ' (%d+)$') or ''
local reply = { ask.lock, owner, stays, ask.flags, ask.key }
see_gates(asked, now)
for at = 1, math.min(#ask.gates, MOST) do
  local gate = seen_gates[ask.gates[at].name]
  local from, to = '[' .. gate.name .. '\0', '(' .. gate.name .. '\1'
  for _, fact in ipairs({ gate.name, gate.most, redis.call('ZLEXCOUNT', entered, from, to),
    redis.call('ZLEXCOUNT', gated, from, to), string.format('%.17g', gate.interval),
    gate.interval > 0 and math.max(math.ceil(gate.next - gate.slack - now), 0) or 0 }) do
    reply[#reply + 1] = fact
  end
end
return reply
