#!lua flags=allow-oom
-- renew | keys: live ready scheduled retrying opens parked cancels holders wake meta | edges: none
--
-- Renews the leases of a supervisor's children, however much they hold, and tells it what it
-- should know. A lease that ended is never revived.
-- ARGV: now, lease ms, park cursor, then the holders
-- Reply: now, a letter per holder (O renewed, L lost, U never claimed here), used memory in % of
--   maxmemory, ms until the next job is due or let in (-1: none), ms until the first lease of anybody ends
--   (-1: none), dead holders (joined by spaces), parked task names after the cursor (joined),
--   then per job to be stopped: holder, id, fence, order (cancel, kill)

local now = clock(ARGV[1])
local lease = tonumber(ARGV[2])
local mine, letters = {}, {}
for i = 4, #ARGV do mine[ARGV[i]] = true end

-- After an outage nobody could renew: give everybody a whole lease before anyone is reaped. What
-- a worker with a longer lease was given stays; where the clock was set back it is set back too.
local facts = redis.call('HMGET', meta, 'renewed', 'reap_after')
local renewed, reap_after = tonumber(facts[1] or now) or 0, tonumber(facts[2] or 0) or 0
local given = reap_after
if renewed > now then reap_after = now + math.max(reap_after - renewed, 0) end
if now - renewed > lease / 2 then reap_after = math.max(reap_after, now + lease) end
if reap_after ~= given then redis.call('HSET', meta, 'reap_after', reap_after) end
redis.call('HSET', meta, 'renewed', now)

for i = 4, #ARGV do
  local until_ms = redis.call('ZSCORE', holders, ARGV[i])
  if not until_ms then
    letters[#letters + 1] = 'U'
  elseif tonumber(until_ms) <= now then
    letters[#letters + 1] = 'L'
  else
    redis.call('ZADD', holders, now + lease, ARGV[i])
    letters[#letters + 1] = 'O'
  end
end

local lapsed, first_end = '', -1
if now >= reap_after then
  lapsed = table.concat(redis.call('ZRANGE', holders, '-inf', now, 'BYSCORE', 'LIMIT', 0, 20), ' ')
end
local head = redis.call('ZRANGE', holders, '(' .. now, '+inf', 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')
if head[2] then first_end = math.max(tonumber(head[2]), reap_after) - now end

set_wake(wake, ready) -- makes good a token that died with the worker that took it

local next_due = -1
for _, set in ipairs({ scheduled, retrying, opens }) do
  local due = redis.call('ZRANGE', set, 0, 0, 'WITHSCORES')[2]
  if due then
    local wait = math.max(tonumber(due) - now, 0)
    if next_due < 0 or wait < next_due then next_due = wait end
  end
end

local names, cursor = {}, ARGV[3]
for _ = 1, 100 do
  if #names == 50 then break end
  local found = redis.call('ZRANGE', parked, '(' .. cursor, '+', 'BYLEX', 'LIMIT', 0, 1)
  if #found == 0 then break end
  local name = string.match(found[1], '^(%S*) ')
  if name then names[#names + 1] = name end
  cursor = name and name .. '!' or found[1] -- the first string behind all of "name id"
end

local reply = { now, table.concat(letters), fullness(), next_due, first_end, lapsed,
                table.concat(names, ' ') }
local orders = redis.call('HRANDFIELD', cancels, 100, 'WITHVALUES')
if #orders > 0 then
  local asked = {}
  for i = 1, #orders, 2 do asked[#asked + 1] = orders[i] end
  local lives = redis.call('HMGET', live, unpack(asked))
  for i, id in ipairs(asked) do
    local l = read_live(lives[i])
    local holder = string.sub(l.tail, 1, 22)
    if mine[holder] then
      local n = #reply
      reply[n + 1], reply[n + 2], reply[n + 3] = holder, id, l.fence
      reply[n + 4] = string.match(orders[i * 2], '^%a+') or 'cancel'
    end
  end
end
return reply
